# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:858e249060c9db8a
"""Residual networks, level 3: the ops of level 3 below, ReLU and addition in place; and the modules."""

import numpy as np

import tangled.t14_resnet.checks as check
from tangled.t09_batch_norm import level2_vectorized as norms
from tangled.t09_batch_norm.checks import floats
from tangled.t09_batch_norm.level3_memory_efficient import batch_norm, batch_norm_backward
from tangled.t11_conv2d_naive.checks import arrays, pair
from tangled.t12_im2col import level3_memory_efficient as rows
from tangled.t12_im2col.level3_memory_efficient import conv2d, conv2d_backward
from tangled.t14_resnet import level2_vectorized as plain
from tangled.t14_resnet import projections

__all__ = ["BasicBlock", "BatchNorm2d", "Bottleneck", "Conv2d", "NormReLU", "PlainBlock", "PlainNet", "ResNet",
           "basic_block", "basic_block_backward"]


def _norm(x, gamma, beta, eps):
    return batch_norm(x, gamma, beta, None, None, True, eps=eps)


def _rectified(out, residual=None):
    """relu(out + residual), (N, C, H, W), into out, which nobody else has."""
    if residual is not None:
        out += residual
    return np.maximum(out, 0, out=out)


def _masked(dout, out):
    """A new array: dout (N, C, H, W) where out, the output of a ReLU, is not 0; elsewhere 0."""
    keep = np.not_equal(out, 0).view(np.int8)
    np.negative(keep, out=keep)                                 # 1 becomes -1, all bits set
    bits = np.dtype(f"i{dout.itemsize}")
    return np.bitwise_and(dout.view(bits), keep).view(dout.dtype)


def basic_block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut=None, gamma_s=None, beta_s=None, stride=1,
                preactivation=False, eps=1e-5):
    """As level 2; what is kept are x, two outputs of convolutions, and what the ReLUs gave."""
    arrays, dtype = check.block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut, gamma_s, beta_s, stride,
                                preactivation, eps)
    block = _before if preactivation else _after
    out, cache = block(*arrays, stride, eps)
    return out.astype(dtype), (cache, out.shape, out.dtype, dtype, preactivation)


def basic_block_backward(dout, cache):
    """As level 2; gradients are normalised in place."""
    cache, shape, work, dtype, preactivation = cache
    block = _before_backward if preactivation else _after_backward
    grads = block(check.gradient(dout, shape, work), *cache)
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def _after(x, w1, gamma1, beta1, w2, gamma2, beta2, w_s, gamma_s, beta_s, stride, eps):
    """eq. 14.1."""
    z1, conv1 = conv2d(x, w1, None, stride, 1)                  # (N, F, OH, OW)
    h, norm1 = _norm(z1, gamma1, beta1, eps)
    z2, conv2 = conv2d(_rectified(h), w2, None, 1, 1)
    out, norm2 = _norm(z2, gamma2, beta2, eps)
    s, conv_s, norm_s = x, None, None
    if w_s is not None:
        z_s, conv_s = conv2d(x, w_s, None, stride)
        s, norm_s = _norm(z_s, gamma_s, beta_s, eps)
    _rectified(out, s)
    return out, (conv1, norm1, h, conv2, norm2, conv_s, norm_s, out != 0)


def _after_backward(dout, conv1, norm1, h, conv2, norm2, conv_s, norm_s, mask):
    """eq. 14.2."""
    d = _masked(dout, mask)
    dz, dgamma2, dbeta2 = batch_norm_backward(d, norm2)
    dh, dw2 = conv2d_backward(dz, conv2)
    dz = _masked(dh, h)
    _, dgamma1, dbeta1 = batch_norm_backward(dz, norm1, out=dz)
    dx, dw1 = conv2d_backward(dz, conv1)
    grads = dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2
    if conv_s is None:
        dx += d
        return dx, *grads
    _, dgamma_s, dbeta_s = batch_norm_backward(d, norm_s, out=d)
    ds, dw_s = conv2d_backward(d, conv_s)
    dx += ds
    return dx, *grads, dw_s, dgamma_s, dbeta_s


def _before(x, w1, gamma1, beta1, w2, gamma2, beta2, w_s, gamma_s, beta_s, stride, eps):
    """eq. 14.3."""
    h1, norm1 = _norm(x, gamma1, beta1, eps)                    # (N, C, H, W)
    z1, conv1 = conv2d(_rectified(h1), w1, None, stride, 1)     # (N, F, OH, OW)
    h2, norm2 = _norm(z1, gamma2, beta2, eps)
    out, conv2 = conv2d(_rectified(h2), w2, None, 1, 1)
    s, conv_s = (x, None) if w_s is None else conv2d(h1, w_s, None, stride)
    out += s
    return out, (norm1, h1, conv1, norm2, h2, conv2, conv_s)


def _before_backward(dout, norm1, h1, conv1, norm2, h2, conv2, conv_s):
    """eq. 14.4."""
    dh2, dw2 = conv2d_backward(dout, conv2)
    dz = _masked(dh2, h2)
    _, dgamma2, dbeta2 = batch_norm_backward(dz, norm2, out=dz)
    dh1, dw1 = conv2d_backward(dz, conv1)
    of_shortcut = ()
    if conv_s is not None:
        ds, *of_shortcut = conv2d_backward(dout, conv_s)
        dh1 += ds
    dx = _masked(dh1, h1)
    _, dgamma1, dbeta1 = batch_norm_backward(dx, norm1, out=dx)
    if conv_s is None:
        dx += dout
    return dx, dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2, *of_shortcut


class Conv2d(rows.Conv2d):
    """Chapter 12's module; 1 x 1 by `projections`."""

    def forward(self, x):
        """x (N, in_channels, H, W) to (N, out_channels, OH, OW)."""
        w, options = self.weight.data, self.options
        stride, across = pair("stride", options["stride"])
        if (w.shape[2:] != (1, 1) or self.bias is not None or x.dtype == np.float16 or stride != across
                or (options["padding"], options["dilation"], options["groups"]) != (0, 1, 1)):
            return super().forward(x)
        x, w, *_ = arrays(x, w, None, stride, 1, 1)
        out = projections.project(x, w, stride)
        self.cache = x, w, stride, out.shape
        return out

    def backward(self, dout):
        """dout (N, out_channels, OH, OW) to dx (N, in_channels, H, W); None unless `input_grad`."""
        kept = self.kept()
        if len(kept) != 4:
            return super().backward(dout)
        x, w, stride, shape = kept
        dout = check.gradient(dout, shape, x.dtype)
        self.weight.accumulate(projections.weight_gradient(dout, x, stride))
        return projections.input_gradient(dout, w, x.shape, stride) if self.input_grad else None


class BatchNorm2d(norms.BatchNorm2d):
    """Chapter 09's module by the ops of its level 3."""

    def normalised(self, x):
        """x (N, C, H, W): a new array, and the cache of the op."""
        x = floats("x", x, ("N", "C", "H", "W"))
        return batch_norm(x, self.weight.data, self.bias.data, self.running_mean, self.running_var, self.training,
                          self.momentum, self.eps)

    def forward(self, x):
        """x (N, C, H, W): the same shape."""
        out, self.cache = self.normalised(x)
        return out

    def backward(self, dout):
        """dout to dx, same shape."""
        return self.through(dout, self.kept())

    def through(self, dout, cache, out=None):
        """dx (N, C, H, W), into out if given, for dout of the same shape."""
        dx, dgamma, dbeta = batch_norm_backward(dout, cache, out)
        self.weight.accumulate(dgamma)
        self.bias.accumulate(dbeta)
        return dx


class NormReLU(BatchNorm2d):
    """As level 2; the addition and the ReLU are in place."""

    def forward(self, x, residual=None):
        """x and residual (N, C, H, W): the same shape."""
        out, of_norm = self.normalised(x)
        self.cache = of_norm, _rectified(out, residual), residual is not None
        return out

    def backward(self, dout):
        """dout (N, C, H, W): dx, or (dx, dresidual), in the same shape."""
        of_norm, out, has_residual = self.kept()
        d = _masked(dout, out)
        if has_residual:
            return self.through(d, of_norm), d
        return self.through(d, of_norm, out=d)


class _Lean:
    """What blocks and networks of this level are made of."""

    conv, norm, norm_relu = Conv2d, BatchNorm2d, NormReLU


class BasicBlock(_Lean, plain.BasicBlock):
    """As level 2."""


class Bottleneck(_Lean, plain.Bottleneck):
    """As level 2."""


class PlainBlock(_Lean, plain.PlainBlock):
    """As level 2."""


class ResNet(_Lean, plain.ResNet):
    """As level 2, for x (N, in_channels, H, W)."""

    def __init__(self, blocks, widths, num_classes=10, in_channels=3, block=BasicBlock, stem="small",
                 preactivation=False, zero_init=True, rng=None):
        super().__init__(blocks, widths, num_classes, in_channels, block, stem, preactivation, zero_init, rng)


class PlainNet(_Lean, plain.PlainNet):
    """As level 2, for x (N, in_channels, H, W)."""

    block = PlainBlock
