# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:eaec395d9f423815
"""Residual blocks, level 1: loops over single numbers. Shapes and errors as in level 2."""

import numpy as np

import tangled.t14_resnet.checks as check
from tangled.t09_batch_norm.level1_naive import batch_norm, batch_norm_backward
from tangled.t11_conv2d_naive.level1_naive import conv2d, conv2d_backward


def _each(f, *arrays):
    """f of the numbers at the same place of arrays of one shape, in such an array."""
    rows = zip(*(a.ravel().tolist() for a in arrays))
    return np.array([f(*row) for row in rows], arrays[0].dtype).reshape(arrays[0].shape)


def _relu(x):
    return _each(lambda v: 0.0 if v < 0 else v, x)


def _relu_backward(dout, out):
    return _each(lambda g, y: g if y != 0 else 0.0, dout, out)


def _add(x, y):
    return _each(lambda u, v: u + v, x, y)


def _norm(x, gamma, beta, eps):
    return batch_norm(x, gamma, beta, None, None, True, eps=eps)


def basic_block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut=None, gamma_s=None, beta_s=None, stride=1,
                preactivation=False, eps=1e-5):
    """x (N, C, H, W), w1 (F, C, 3, 3), w2 (F, F, 3, 3): out (N, F, OH, OW), and a cache."""
    arrays, dtype = check.block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut, gamma_s, beta_s, stride,
                                preactivation, eps)
    block = _before if preactivation else _after
    out, cache = block(*arrays, stride, eps)
    return out.astype(dtype), (cache, out.shape, out.dtype, dtype, preactivation)


def basic_block_backward(dout, cache):
    """dout (N, F, OH, OW): the gradients of the arrays that went in, in their order."""
    cache, shape, work, dtype, preactivation = cache
    block = _before_backward if preactivation else _after_backward
    grads = block(check.gradient(dout, shape, work), *cache)
    return tuple(grad.astype(dtype) for grad in grads)


def _after(x, w1, gamma1, beta1, w2, gamma2, beta2, w_s, gamma_s, beta_s, stride, eps):
    """eq. 14.1."""
    z1, conv1 = conv2d(x, w1, None, stride, 1)                  # (N, F, OH, OW)
    a1, norm1 = _norm(z1, gamma1, beta1, eps)
    h = _relu(a1)
    z2, conv2 = conv2d(h, w2, None, 1, 1)
    a2, norm2 = _norm(z2, gamma2, beta2, eps)
    s, conv_s, norm_s = x, None, None
    if w_s is not None:
        z_s, conv_s = conv2d(x, w_s, None, stride)
        s, norm_s = _norm(z_s, gamma_s, beta_s, eps)
    out = _relu(_add(a2, s))
    return out, (conv1, norm1, h, conv2, norm2, conv_s, norm_s, out.copy())


def _after_backward(dout, conv1, norm1, h, conv2, norm2, conv_s, norm_s, out):
    """eq. 14.2."""
    d = _relu_backward(dout, out)
    dz2, dgamma2, dbeta2 = batch_norm_backward(d, norm2)
    dh, dw2 = conv2d_backward(dz2, conv2)
    dz1, dgamma1, dbeta1 = batch_norm_backward(_relu_backward(dh, h), norm1)
    dx, dw1 = conv2d_backward(dz1, conv1)
    grads = dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2
    if conv_s is None:
        return _add(dx, d), *grads
    dz_s, dgamma_s, dbeta_s = batch_norm_backward(d, norm_s)
    ds, dw_s = conv2d_backward(dz_s, conv_s)
    return _add(dx, ds), *grads, dw_s, dgamma_s, dbeta_s


def _before(x, w1, gamma1, beta1, w2, gamma2, beta2, w_s, gamma_s, beta_s, stride, eps):
    """eq. 14.3."""
    a1, norm1 = _norm(x, gamma1, beta1, eps)                    # (N, C, H, W)
    h1 = _relu(a1)
    z1, conv1 = conv2d(h1, w1, None, stride, 1)                 # (N, F, OH, OW)
    a2, norm2 = _norm(z1, gamma2, beta2, eps)
    h2 = _relu(a2)
    z2, conv2 = conv2d(h2, w2, None, 1, 1)
    s, conv_s = (x, None) if w_s is None else conv2d(h1, w_s, None, stride)
    return _add(z2, s), (norm1, h1, conv1, norm2, h2, conv2, conv_s)


def _before_backward(dout, norm1, h1, conv1, norm2, h2, conv2, conv_s):
    """eq. 14.4."""
    dh2, dw2 = conv2d_backward(dout, conv2)
    dz1, dgamma2, dbeta2 = batch_norm_backward(_relu_backward(dh2, h2), norm2)
    dh1, dw1 = conv2d_backward(dz1, conv1)
    of_shortcut = ()
    if conv_s is not None:
        ds, *of_shortcut = conv2d_backward(dout, conv_s)
        dh1 = _add(dh1, ds)
    dx, dgamma1, dbeta1 = batch_norm_backward(_relu_backward(dh1, h1), norm1)
    if conv_s is None:
        dx = _add(dx, dout)
    return dx, dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2, *of_shortcut
