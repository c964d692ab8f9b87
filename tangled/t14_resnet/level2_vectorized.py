# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:2e46c70a23914f34
"""Residual networks, level 2: whole arrays, and the modules."""

import math

import numpy as np

import tangled.t14_resnet.checks as check
from tangled.t05_mlp_forward import relu
from tangled.t06_backpropagation import Linear, Module, Parameter, Sequential, relu_backward
from tangled.t09_batch_norm import BatchNorm2d, batch_norm, batch_norm_backward
from tangled.t12_im2col import Conv2d, conv2d, conv2d_backward


def basic_block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut=None, gamma_s=None, beta_s=None,
                stride=1, preactivation=False, eps=1e-5):
    """A residual block of two 3 x 3 convolutions, in training; He et al. (2016).

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating; float16 is computed in float32
    w1, w2 : ndarrays of shapes (F, C, 3, 3) and (F, F, 3, 3), in the dtype of x
    gamma1, beta1 : ndarrays of shape (F,), or (C,) with preactivation: scale and shift
    gamma2, beta2 : ndarrays of shape (F,)
    w_shortcut : ndarray of shape (F, C, 1, 1); or None, where stride is 1 and F is C
    gamma_s, beta_s : ndarrays of shape (F,) beside w_shortcut; None with preactivation
    stride : int, of the first convolution and of the shortcut
    preactivation : bool; normalise and rectify before each convolution, not after
    eps : float, positive, added to the variances

    Returns
    -------
    out : ndarray of shape (N, F, OH, OW), in the dtype of x
    cache : for `basic_block_backward`
    """
    arrays, dtype = check.block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut, gamma_s, beta_s,
                                stride, preactivation, eps)
    block = _before if preactivation else _after
    out, cache = block(*arrays, stride, eps)
    return out.astype(dtype), (cache, out.shape, out.dtype, dtype, preactivation)


def basic_block_backward(dout, cache):
    """Gradients of `basic_block`.

    Parameters
    ----------
    dout : ndarray of shape (N, F, OH, OW)
    cache : from `basic_block`

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2 : ndarrays, each in the shape of its array
    dw_shortcut, dgamma_s, dbeta_s : the same; left out as far as there were none
    """
    cache, shape, work, dtype, preactivation = cache
    block = _before_backward if preactivation else _after_backward
    grads = block(check.gradient(dout, shape, work), *cache)
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def _norm(x, gamma, beta, eps):
    return batch_norm(x, gamma, beta, None, None, True, eps=eps)


def _after(x, w1, gamma1, beta1, w2, gamma2, beta2, w_s, gamma_s, beta_s, stride, eps):
    """Activations after the layers, eq. 14.1."""
    z1, conv1 = conv2d(x, w1, None, stride, 1)                  # (N, F, OH, OW)
    a1, norm1 = _norm(z1, gamma1, beta1, eps)
    h, relu1 = relu(a1)
    z2, conv2 = conv2d(h, w2, None, 1, 1)
    a2, norm2 = _norm(z2, gamma2, beta2, eps)
    s, conv_s, norm_s = x, None, None
    if w_s is not None:
        z_s, conv_s = conv2d(x, w_s, None, stride)
        s, norm_s = _norm(z_s, gamma_s, beta_s, eps)
    out, relu2 = relu(a2 + s)                                       # eq. 14.1
    return out, (conv1, norm1, relu1, conv2, norm2, conv_s, norm_s, relu2)


def _after_backward(dout, conv1, norm1, relu1, conv2, norm2, conv_s, norm_s, relu2):
    """eq. 14.2."""
    d = relu_backward(dout, relu2)                              # of the sum: for both branches
    dz2, dgamma2, dbeta2 = batch_norm_backward(d, norm2)
    dh, dw2 = conv2d_backward(dz2, conv2)
    dz1, dgamma1, dbeta1 = batch_norm_backward(relu_backward(dh, relu1), norm1)
    dx, dw1 = conv2d_backward(dz1, conv1)
    grads = dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2
    if conv_s is None:
        return dx + d, *grads
    dz_s, dgamma_s, dbeta_s = batch_norm_backward(d, norm_s)
    ds, dw_s = conv2d_backward(dz_s, conv_s)
    dx = dx + ds                                                    # eq. 14.2
    return dx, *grads, dw_s, dgamma_s, dbeta_s


def _before(x, w1, gamma1, beta1, w2, gamma2, beta2, w_s, gamma_s, beta_s, stride, eps):
    """Activations before the layers, eq. 14.3."""
    a1, norm1 = _norm(x, gamma1, beta1, eps)                    # (N, C, H, W)
    h1, relu1 = relu(a1)
    z1, conv1 = conv2d(h1, w1, None, stride, 1)                 # (N, F, OH, OW)
    a2, norm2 = _norm(z1, gamma2, beta2, eps)
    h2, relu2 = relu(a2)
    z2, conv2 = conv2d(h2, w2, None, 1, 1)
    s, conv_s = (x, None) if w_s is None else conv2d(h1, w_s, None, stride)
    out = z2 + s                                                    # eq. 14.3
    return out, (norm1, relu1, conv1, norm2, relu2, conv2, conv_s)


def _before_backward(dout, norm1, relu1, conv1, norm2, relu2, conv2, conv_s):
    """eq. 14.4."""
    dh2, dw2 = conv2d_backward(dout, conv2)
    dz1, dgamma2, dbeta2 = batch_norm_backward(relu_backward(dh2, relu2), norm2)
    dh1, dw1 = conv2d_backward(dz1, conv1)
    of_shortcut = ()
    if conv_s is not None:
        ds, *of_shortcut = conv2d_backward(dout, conv_s)
        dh1 = dh1 + ds                                          # the shortcut starts behind the ReLU
    dx, dgamma1, dbeta1 = batch_norm_backward(relu_backward(dh1, relu1), norm1)
    if conv_s is None:
        dx = dx + dout                                          # the identity path
    return dx, dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2, *of_shortcut


class NormReLU(BatchNorm2d):
    """Batch normalisation of x (N, C, H, W), a second input added if there is one, ReLU."""

    def forward(self, x, residual=None):
        """x and residual (N, C, H, W): the same shape."""
        a = super().forward(x)
        out, of_relu = relu(a if residual is None else a + residual)
        self.cache = self.cache, of_relu, residual is not None
        return out

    def backward(self, dout):
        """dout (N, C, H, W): dx, or (dx, dresidual), in the same shape."""
        of_norm, of_relu, has_residual = self.kept()
        d = relu_backward(dout, of_relu)
        dx, dgamma, dbeta = batch_norm_backward(d, of_norm)
        self.weight.accumulate(dgamma)
        self.bias.accumulate(dbeta)
        return (dx, d) if has_residual else dx


class ResidualBlock(Module):
    """What the blocks share: convolutions, each with its normalisation, and a shortcut.

    Parameters
    ----------
    in_channels : int, C
    channels : int, the filters of the 3 x 3 convolutions; out has `expansion` times as many, F
    stride : int
    preactivation : bool; normalise and rectify before each convolution, not after
    zero_init : bool; start as the identity (up to the last ReLU): the last scale, with
        preactivation the last weights, are 0
    rng : numpy.random.Generator, for the weights; by default one with the seed 0

    Attributes
    ----------
    conv1, conv2, ... : Conv2d without bias
    bn1, bn2, ... : batch normalisations, with their ReLUs
    shortcut : Sequential of a 1 x 1 Conv2d and, without preactivation, a BatchNorm2d; or None, the identity
    """

    conv, norm, norm_relu = Conv2d, BatchNorm2d, NormReLU       # of which a block is made
    expansion, residual = 1, True

    def __init__(self, in_channels, channels, stride=1, preactivation=False, zero_init=True, rng=None):
        sizes = check.layer(in_channels, channels, stride)
        rng = np.random.default_rng(0) if rng is None else rng
        self.preactivation = preactivation
        for k, (inputs, filters, kernel, step) in enumerate(self.plan(*sizes), start=1):
            setattr(self, f"conv{k}", he_conv(self.conv, inputs, filters, kernel, step, rng))
            setattr(self, f"bn{k}", self.norm_relu(inputs if preactivation else filters))
        self.depth, self.shortcut = k, None
        if zero_init:
            last = getattr(self, f"conv{k}").weight if preactivation else getattr(self, f"bn{k}").weight
            last.data[...] = 0                                              # eq. 14.10
        out_channels = sizes[1] * self.expansion
        if self.residual and (stride != 1 or in_channels != out_channels):
            project = he_conv(self.conv, in_channels, out_channels, 1, stride, rng)
            self.shortcut = Sequential(project, *([] if preactivation else [self.norm(out_channels)]))

    def plan(self, in_channels, channels, stride):
        """[(inputs, filters, kernel, stride)] of the convolutions."""
        raise NotImplementedError(f"{type(self).__name__} has no plan")

    def pairs(self):
        """[(convolution, normalisation)]."""
        return [(getattr(self, f"conv{k}"), getattr(self, f"bn{k}")) for k in range(1, self.depth + 1)]

    def forward(self, x):
        """x (N, C, H, W) to (N, F, OH, OW)."""
        if self.preactivation:
            return self._before(x)
        h, (*inner, (conv, norm)) = x, self.pairs()
        for inner_conv, inner_norm in inner:
            h = inner_norm(inner_conv(h))
        if not self.residual:
            return norm(conv(h))
        return norm(conv(h), x if self.shortcut is None else self.shortcut(x))      # eq. 14.1

    def _before(self, x):
        """With preactivation, eq. 14.3."""
        (conv, norm), *rest = self.pairs()
        first = norm(x)
        h = conv(first)
        for conv, norm in rest:
            h = conv(norm(h))
        if not self.residual:
            return h
        return h + (x if self.shortcut is None else self.shortcut(first))

    def backward(self, dout):
        """dout (N, F, OH, OW) to dx (N, C, H, W)."""
        if self.preactivation:
            return self._before_backward(dout)
        d, direct = dout, None
        for k, (conv, norm) in enumerate(reversed(self.pairs())):
            d = norm.backward(d)
            if k == 0 and self.residual:
                d, direct = d
            d = conv.backward(d)
        if direct is None:
            return d
        # both ways reach x, eq. 14.2
        return d + (direct if self.shortcut is None else self.shortcut.backward(direct))

    def _before_backward(self, dout):
        """With preactivation, eq. 14.4."""
        d, (first, *rest) = dout, self.pairs()
        for conv, norm in reversed(rest):
            d = norm.backward(conv.backward(d))
        d = first[0].backward(d)
        if self.shortcut is not None:
            d = d + self.shortcut.backward(dout)
        d = first[1].backward(d)
        return d + dout if self.shortcut is None and self.residual else d


def he_conv(conv, in_channels, filters, kernel, stride, rng):
    """A Conv2d without bias, "same" at stride 1; (F, C, KH, KW) normal, variance 2 / (F KH KW)."""
    layer = conv(in_channels, filters, kernel, stride, kernel // 2, bias=False, rng=rng)
    std = math.sqrt(2 / (filters * kernel * kernel))
    layer.weight = Parameter(rng.normal(0, std, layer.weight.data.shape).astype(np.float32))
    return layer


class BasicBlock(ResidualBlock):
    """Two 3 x 3 convolutions; parameters as `ResidualBlock`."""

    def plan(self, in_channels, channels, stride):
        """[(inputs, filters, kernel, stride)] of the convolutions."""
        return [(in_channels, channels, 3, stride), (channels, channels, 3, 1)]


class Bottleneck(ResidualBlock):
    """1 x 1 to fewer channels, 3 x 3, 1 x 1 to four times as many; parameters as `ResidualBlock`."""

    expansion = 4

    def plan(self, in_channels, channels, stride):
        """[(inputs, filters, kernel, stride)] of the convolutions."""
        out = channels * self.expansion
        return [(in_channels, channels, 1, 1), (channels, channels, 3, stride), (channels, out, 1, 1)]


class PlainBlock(BasicBlock):
    """A basic block without its shortcut; parameters as `ResidualBlock`."""

    residual = False


class ResNet(Module):
    """A residual network: stem, stages of blocks, mean over the picture, linear layer.

    Parameters
    ----------
    blocks : tuple of int, the blocks of each stage
    widths : tuple of int, the channels of each stage; every stage but the first begins with stride 2
    num_classes, in_channels : int
    block : BasicBlock, Bottleneck or PlainBlock
    stem : "small", 3 x 3; or "imagenet", 7 x 7 with stride 2 and a max-pooling with stride 2
    preactivation, zero_init : bool, as for `ResidualBlock`
    rng : numpy.random.Generator, for the weights; by default one with the seed 0

    Attributes
    ----------
    conv1 : Conv2d of the stem;  bn1 : its NormReLU, with preactivation None
    layer1, layer2, ... : Sequentials of blocks
    bn_last : NormReLU behind the last block with preactivation, else None
    fc : Linear
    """

    conv, norm_relu = Conv2d, NormReLU                          # of which the stem is made

    def __init__(self, blocks, widths, num_classes=10, in_channels=3, block=BasicBlock, stem="small",
                 preactivation=False, zero_init=True, rng=None):
        blocks, widths = check.blocks(blocks, widths)
        rng = np.random.default_rng(0) if rng is None else rng
        large = check.stem(stem) == "imagenet"
        kernel, stride = (7, 2) if large else (3, 1)
        self.conv1 = he_conv(self.conv, in_channels, widths[0], kernel, stride, rng)
        self.pool = StemPool() if large else None
        self.bn1, self.bn_last = None if preactivation else self.norm_relu(widths[0]), None
        channels = widths[0]
        for k, (count, width) in enumerate(zip(blocks, widths), start=1):
            stage = []
            for n in range(count):
                stride = 2 if k > 1 and n == 0 else 1
                stage.append(block(channels, width, stride, preactivation, zero_init, rng))
                channels = width * block.expansion
            setattr(self, f"layer{k}", Sequential(*stage))
        if preactivation:
            self.bn_last = self.norm_relu(channels)
        self.stages, self.fc = k, Linear(channels, num_classes, rng)

    def pictures(self):
        """The modules before the mean, in the order of the forward pass."""
        stages = [getattr(self, f"layer{k}") for k in range(1, self.stages + 1)]
        return [m for m in (self.conv1, self.bn1, self.pool, *stages, self.bn_last) if m is not None]

    def forward(self, x):
        """x (N, in_channels, H, W): logits (N, num_classes)."""
        for module in self.pictures():
            x = module(x)
        self.cache = x.shape
        return self.fc(x.mean(axis=(2, 3)))

    def backward(self, dout):
        """dout (N, num_classes) to dx (N, in_channels, H, W)."""
        N, C, H, W = self.kept()
        self.conv1.input_grad = self.input_grad                 # pictures seldom need a gradient
        d = np.repeat(self.fc.backward(dout) / (H * W), H * W, axis=1).reshape(N, C, H, W)
        for module in reversed(self.pictures()):
            d = module.backward(d)
        return d


class PlainNet(ResNet):
    """The same layers without shortcuts: for comparison. Parameters as `ResNet`."""

    block = PlainBlock

    def __init__(self, blocks, widths, num_classes=10, in_channels=3, stem="small", rng=None):
        super().__init__(blocks, widths, num_classes, in_channels, self.block, stem, zero_init=False,
                         rng=rng)


class StemPool(Module):
    """The maximum over windows of 3 x 3 with stride 2 and padding 1."""

    def forward(self, x):
        """x (N, C, H, W) to (N, C, OH, OW)."""
        views = self._views(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf))
        out = views[0].copy()
        for view in views[1:]:
            np.maximum(out, view, out=out)
        self.cache = x, out.copy()
        return out

    def _views(self, padded):
        """The nine entries of all windows: views (N, C, OH, OW)."""
        rows, columns = padded.shape[2] - 2, padded.shape[3] - 2
        return [padded[:, :, i:i + rows:2, j:j + columns:2] for i in range(3) for j in range(3)]

    def backward(self, dout):
        """dout (N, C, OH, OW) to dx (N, C, H, W): to the first that is the maximum."""
        x, out = self.kept()
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        dpadded, free = np.zeros_like(padded), np.ones(out.shape, bool)
        for view, dview in zip(self._views(padded), self._views(dpadded)):
            chosen = free & (view == out)
            dview += np.where(chosen, dout, 0)
            free &= ~chosen
        return dpadded[:, :, 1:-1, 1:-1].copy()
