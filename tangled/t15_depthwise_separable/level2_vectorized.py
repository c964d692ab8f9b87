# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:6267d4f799fe96d1
"""The factored convolution, level 2: shifted views; modules on it, and what they cost."""

import math

import numpy as np

import tangled.t15_depthwise_separable.checks as check
from tangled.t06_backpropagation import Linear, Module, Parameter, ReLU, Sequential
from tangled.t09_batch_norm import BatchNorm1d, BatchNorm2d
from tangled.t12_im2col import Conv2d, ConvTranspose2d


def depthwise_conv2d(x, w, b=None, stride=1, padding=0, dilation=1):
    """Each channel convolved with M kernels of its own; channel c feeds the M outputs from c * M on.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating; float16 is computed in float32
    w : ndarray of shape (C * M, 1, KH, KW), in the dtype of x
    b : ndarray of shape (C * M,), in the dtype of x, or None
    stride, dilation : int, or (h, w)
    padding : int, (h, w), (top, bottom, left, right), or "same"; zeros

    Returns
    -------
    out : ndarray of shape (N, C * M, OH, OW), in the dtype of x
    cache : for `depthwise_conv2d_backward`
    """
    x, w, b, at = check.depthwise(x, w, b, stride, padding, dilation)
    work, multiplier = check.working(x.dtype), len(w) // x.shape[1]
    padded = np.pad(x.astype(work, copy=False), ((0, 0), (0, 0), *at.sides))
    wide = padded.repeat(multiplier, axis=1)                        # (N, C M, Hp, Wp): 0, 0, ..., 1, 1, ...
    kernels = w[:, 0, :, :, None, None].astype(work)            # (C M, KH, KW, 1, 1)
    out = np.zeros((len(x), len(w), *at.outputs), work)
    for i, j, rows, columns in _shifts(at):
        out += kernels[:, i, j] * wide[:, :, rows, columns]     # eq. 15.2
    if b is not None:
        out += b[:, None, None]
    return out.astype(x.dtype, copy=False), (wide, kernels, b is not None, x.shape, x.dtype, at)


def _shifts(at):
    """(i, j, rows, columns): for each weight, the slices of the padded picture that it meets."""
    span = lambda offset, outputs, stride: slice(offset, offset + (outputs - 1) * stride + 1, stride)
    for i, j in np.ndindex(*at.kernel):
        yield (i, j, span(i * at.dilation[0], at.outputs[0], at.stride[0]),
               span(j * at.dilation[1], at.outputs[1], at.stride[1]))


def depthwise_conv2d_backward(dout, cache):
    """Gradients of `depthwise_conv2d`.

    Parameters
    ----------
    dout : ndarray of shape (N, C * M, OH, OW)
    cache : from `depthwise_conv2d`

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dw : ndarray of shape (C * M, 1, KH, KW)
    db : ndarray of shape (C * M,); left out if there was no b
    """
    wide, kernels, has_bias, (N, C, H, W), dtype, at = cache
    dout = check.gradient(dout, (N, len(kernels), *at.outputs), wide.dtype)
    dwide, dw = np.zeros_like(wide), np.empty((len(kernels), 1, *at.kernel), wide.dtype)
    for i, j, rows, columns in _shifts(at):
        dw[:, 0, i, j] = np.einsum(                             # eq. 15.5
            "nfhw,nfhw->f", dout, wide[:, :, rows, columns])
        dwide[:, :, rows, columns] += kernels[:, i, j] * dout   # eq. 15.6
    copies = len(kernels) // C
    dpadded = dwide.reshape(N, C, copies, *wide.shape[2:]).sum(axis=2)
    (top, _), (left, _) = at.sides
    dx = dpadded[:, :, top:top + H, left:left + W].copy()
    grads = dx, dw, dout.sum(axis=(0, 2, 3))
    return tuple(grad.astype(dtype, copy=False) for grad in grads[:2 + has_bias])


def pointwise_conv2d(x, w, b=None):
    """A 1 x 1 convolution: at every pixel the same linear map of the channels.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating; float16 is computed in float32
    w : ndarray of shape (F, C), in the dtype of x
    b : ndarray of shape (F,), in the dtype of x, or None

    Returns
    -------
    out : ndarray of shape (N, F, H, W), in the dtype of x
    cache : for `pointwise_conv2d_backward`
    """
    x, w, b = check.pointwise(x, w, b)
    (N, C, H, W), work = x.shape, check.working(x.dtype)
    pixels = x.reshape(N, C, H * W).astype(work, copy=False)
    weights = w.astype(work)
    out = (weights @ pixels).reshape(N, len(w), H, W)           # eq. 15.3
    if b is not None:
        out += b[:, None, None]
    return out.astype(x.dtype, copy=False), (pixels, weights, b is not None, x.shape, x.dtype)


def pointwise_conv2d_backward(dout, cache):
    """Gradients of `pointwise_conv2d`.

    Parameters
    ----------
    dout : ndarray of shape (N, F, H, W)
    cache : from `pointwise_conv2d`

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dw : ndarray of shape (F, C)
    db : ndarray of shape (F,); left out if there was no b
    """
    pixels, weights, has_bias, (N, C, H, W), dtype = cache
    dout = check.gradient(dout, (N, len(weights), H, W), pixels.dtype)
    g = dout.reshape(N, len(weights), H * W)
    dx = (weights.T @ g).reshape(N, C, H, W)                    # eq. 15.7
    dw = (g @ pixels.swapaxes(1, 2)).sum(axis=0)
    grads = dx, dw, dout.sum(axis=(0, 2, 3))
    return tuple(grad.astype(dtype, copy=False) for grad in grads[:2 + has_bias])


def causal_conv1d(x, w, b=None, dilation=1):
    """A convolution in time that reads the present and the past.

    Parameters
    ----------
    x : ndarray of shape (N, C, T), floating; float16 is computed in float32
    w : ndarray of shape (F, C, K), in the dtype of x; w[:, :, K - 1] meets the present
    b : ndarray of shape (F,), in the dtype of x, or None
    dilation : int, the time between two weights

    Returns
    -------
    out : ndarray of shape (N, F, T), in the dtype of x
    cache : for `causal_conv1d_backward`
    """
    x, w, b, dilation = check.causal(x, w, b, dilation)
    (N, _, T), (F, _, K), work = x.shape, w.shape, check.working(x.dtype)
    weights, before = w.astype(work), (K - 1) * dilation
    padded = np.pad(x.astype(work, copy=False), ((0, 0), (0, 0), (before, 0)))
    out = np.zeros((N, F, T), work)
    for k in range(K):
        out += weights[:, :, k] @ padded[:, :, k * dilation:k * dilation + T]           # eq. 15.13
    if b is not None:
        out += b[:, None]
    return out.astype(x.dtype, copy=False), (padded, weights, b is not None, dilation, x.dtype)


def causal_conv1d_backward(dout, cache):
    """Gradients of `causal_conv1d`.

    Parameters
    ----------
    dout : ndarray of shape (N, F, T)
    cache : from `causal_conv1d`

    Returns
    -------
    dx : ndarray of shape (N, C, T)
    dw : ndarray of shape (F, C, K)
    db : ndarray of shape (F,); left out if there was no b
    """
    padded, weights, has_bias, dilation, dtype = cache
    (F, _, K), before = weights.shape, (weights.shape[2] - 1) * dilation
    T = padded.shape[2] - before
    dout = check.gradient(dout, (len(padded), F, T), padded.dtype)
    dpadded, dw = np.zeros_like(padded), np.empty_like(weights)
    for k in range(K):
        now = slice(k * dilation, k * dilation + T)
        dw[:, :, k] = (dout @ padded[:, :, now].swapaxes(1, 2)).sum(axis=0)
        dpadded[:, :, now] += weights[:, :, k].T @ dout         # eq. 15.14
    grads = dpadded[:, :, before:].copy(), dw, dout.sum(axis=(0, 2))
    return tuple(grad.astype(dtype, copy=False) for grad in grads[:2 + has_bias])


def squeeze_excite(x, w1, b1, w2, b2):
    """Every channel times a factor from 0 to 1, computed from the means of all channels.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating, with at least one pixel; float16 is computed in float32
    w1, b1 : ndarrays of shape (C, R) and (R,), in the dtype of x: before the ReLU
    w2, b2 : ndarrays of shape (R, C) and (C,), in the dtype of x: before the sigmoid

    Returns
    -------
    out : ndarray of shape (N, C, H, W), in the dtype of x
    cache : for `squeeze_excite_backward`
    """
    x, *weights = check.excited(x, w1, b1, w2, b2)
    wide = x.astype(check.working(x.dtype), copy=False)
    w1, b1, w2, b2 = (a.astype(wide.dtype) for a in weights)
    z = wide.mean(axis=(2, 3))                                  # (N, C)
    r = np.maximum(z @ w1 + b1, 0)                              # (N, R)
    s = 0.5 * (1 + np.tanh(0.5 * (r @ w2 + b2)))                # (N, C), the sigmoid
    out = wide * s[:, :, None, None]                            # eq. 15.10
    return out.astype(x.dtype, copy=False), (wide, w1, w2, z, r, s, x.dtype)


def squeeze_excite_backward(dout, cache):
    """Gradients of `squeeze_excite`.

    Parameters
    ----------
    dout : ndarray of shape (N, C, H, W)
    cache : from `squeeze_excite`

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dw1, db1, dw2, db2 : ndarrays, in the shapes of the weights
    """
    x, w1, w2, z, r, s, dtype = cache
    dout = check.gradient(dout, x.shape, x.dtype)
    dv = np.einsum("nchw,nchw->nc", dout, x) * s * (1 - s)      # eq. 15.11
    du = np.where(r > 0, dv @ w2.T, 0)                          # (N, R)
    dz = du @ w1.T / math.prod(x.shape[2:])                         # the mean spreads it over the pixels
    dx = dout * s[:, :, None, None] + dz[:, :, None, None]          # eq. 15.12
    grads = dx, z.T @ du, du.sum(axis=0), r.T @ dv, dv.sum(axis=0)
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


class DepthwiseConv2d(Conv2d):
    """A depthwise convolution of x (N, channels, H, W).

    Parameters
    ----------
    channels, multiplier : int, C and M
    kernel_size : int, or (h, w)
    stride, padding, dilation : as for `depthwise_conv2d`
    bias : bool
    rng : numpy.random.Generator, for the weights; by default one with the seed 0

    Attributes
    ----------
    weight : Parameter of shape (channels * multiplier, 1, KH, KW), float32
    bias : Parameter of shape (channels * multiplier,), float32, or None
    """

    op, op_backward = staticmethod(depthwise_conv2d), staticmethod(depthwise_conv2d_backward)

    def __init__(self, channels, kernel_size, multiplier=1, stride=1, padding=0, dilation=1, bias=True, rng=None):
        channels, multiplier = check.whole("channels", channels, 1), check.whole("multiplier", multiplier, 1)
        super().__init__(channels, channels * multiplier, kernel_size, groups=channels, bias=bias, rng=rng)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation}


class PointwiseConv2d(Conv2d):
    """A 1 x 1 convolution of x (N, in_channels, H, W); weight (out_channels, in_channels)."""

    op, op_backward = staticmethod(pointwise_conv2d), staticmethod(pointwise_conv2d_backward)

    def __init__(self, in_channels, out_channels, bias=True, rng=None):
        super().__init__(in_channels, out_channels, 1, bias=bias, rng=rng)
        self.weight, self.options = Parameter(self.weight.data[:, :, 0, 0]), {}


class CausalConv1d(Conv2d):
    """A causal convolution of x (N, in_channels, T); weight (out_channels, in_channels, kernel_size)."""

    op, op_backward = staticmethod(causal_conv1d), staticmethod(causal_conv1d_backward)

    def __init__(self, in_channels, out_channels, kernel_size, dilation=1, bias=True, rng=None):
        kernel_size = check.whole("kernel_size", kernel_size, 1)
        super().__init__(in_channels, out_channels, (1, kernel_size), bias=bias, rng=rng)
        self.weight = Parameter(self.weight.data[:, :, 0])
        self.options = {"dilation": check.whole("dilation", dilation, 1)}


class ReLU6(Module):
    """min(max(x, 0), 6) of every entry, any shape."""

    def forward(self, x):
        """x to its entries cut at 0 and 6, same shape."""
        x = np.asarray(x)
        self.cache = (x > 0) & (x < 6), x.dtype
        return np.clip(x, 0, 6)

    def backward(self, dout):
        """dout to dx, same shape: dout where x lay between."""
        between, dtype = self.kept()
        return np.where(between, check.gradient(dout, between.shape, dtype), 0)


class SqueezeExcite(Module):
    """Factors for the channels of x (N, channels, H, W), from their means.

    Parameters
    ----------
    channels, reduced : int, C and R
    rng : numpy.random.Generator, for the weights; by default one with the seed 0

    Attributes
    ----------
    fc1, fc2 : Linear (channels to reduced, and back), which hold the weights
    """

    def __init__(self, channels, reduced, rng=None):
        channels, reduced = check.whole("channels", channels, 1), check.whole("reduced", reduced, 1)
        rng = np.random.default_rng(0) if rng is None else rng
        self.fc1, self.fc2 = Linear(channels, reduced, rng), Linear(reduced, channels, rng)

    def forward(self, x):
        """x (N, channels, H, W) to the same shape."""
        out, self.cache = squeeze_excite(x, *(p.data for p in self.parameters()))
        return out

    def backward(self, dout):
        """dout to dx, same shape."""
        dx, *grads = squeeze_excite_backward(dout, self.kept())
        for parameter, grad in zip(self.parameters(), grads):
            parameter.accumulate(grad)
        return dx


class InvertedResidual(Module):
    """MobileNet v2's block: widen, filter each channel, narrow without an activation.

    Parameters
    ----------
    in_channels, out_channels, stride : int
    expansion : int, how many times wider it is inside; 1 leaves the first convolution out
    kernel_size : int, odd
    squeeze : int, the R of a `SqueezeExcite` behind the depthwise convolution; 0 for none
    rng : numpy.random.Generator, for the weights; by default one with the seed 0

    Attributes
    ----------
    body : Sequential
    shortcut : bool; True for stride 1 and as many channels out as in
    """

    depthwise, pointwise = DepthwiseConv2d, PointwiseConv2d

    def __init__(self, in_channels, out_channels, stride=1, expansion=6, kernel_size=3, squeeze=0,
                 rng=None):
        in_channels, expansion = (check.whole("in_channels", in_channels, 1),
                                  check.whole("expansion", expansion, 1))
        stride, squeeze = check.whole("stride", stride, 1), check.whole("squeeze", squeeze, 0)
        if check.whole("kernel_size", kernel_size, 1) % 2 == 0:
            raise ValueError(f"kernel_size = {kernel_size}; expected an odd number")
        rng = np.random.default_rng(0) if rng is None else rng
        wide, self.in_channels = in_channels * expansion, in_channels
        self.shortcut = stride == 1 and in_channels == out_channels
        layers = []
        if expansion > 1:
            layers += [self.pointwise(in_channels, wide, bias=False, rng=rng), BatchNorm2d(wide), ReLU6()]
        layers += [self.depthwise(wide, kernel_size, stride=stride, padding=kernel_size // 2, bias=False,
                                  rng=rng), BatchNorm2d(wide), ReLU6()]
        layers += [SqueezeExcite(wide, squeeze, rng)] if squeeze else []
        layers += [self.pointwise(wide, out_channels, bias=False, rng=rng),         # eq. 15.9
                   BatchNorm2d(out_channels)]
        self.body = Sequential(*layers)

    def forward(self, x):
        """x (N, in_channels, H, W) to (N, out_channels, OH, OW)."""
        out = self.body(check.width_of(x, self.in_channels))
        return out + x if self.shortcut else out

    def backward(self, dout):
        """dout (N, out_channels, OH, OW) to dx (N, in_channels, H, W)."""
        dx = self.body.backward(dout)
        return dx + dout if self.shortcut else dx


RULES = {  # multiply-adds of a module, from its input's shape and its output's
    Linear: lambda module, x, out: math.prod(out) * len(module.weight.data),
    Conv2d: lambda module, x, out: (                                # eq. 15.16
        math.prod(out) * math.prod(module.weight.data.shape[1:])),
    ConvTranspose2d: lambda module, x, out: math.prod(x) * math.prod(module.weight.data.shape[1:]),
    SqueezeExcite: lambda module, x, out: 2 * x[0] * module.fc1.weight.data.size,
    BatchNorm1d: lambda module, x, out: 0}                      # folded into its neighbour


def count_parameters(module):
    """How many numbers a Module learns; shared ones once, buffers not at all: an int."""
    return sum(parameter.data.size for parameter in module.parameters())


def count_flops(module, input_shape, dtype=None):
    """Multiply-adds of a forward pass: products with weights of linear layers and convolutions.

    Parameters
    ----------
    module : Module that takes one array; left as it was
    input_shape : tuple of int, the batch first
    dtype : of the input; by default that of the first parameter

    Returns
    -------
    int, for the whole batch; biases, activations, norms and pooling count nothing

    Raises
    ------
    ValueError : where a parameter belongs to no module that ran and has a rule in RULES
    """
    kept, tally = [(m, m.training, m.cache) for m in module.modules()], {}
    parameters = module.parameters()
    dtype = dtype or (parameters[0].data.dtype if parameters else np.float32)
    try:
        for m, *_ in kept:
            _watch(m, tally)
        module.eval()(np.zeros(check.shape_of(input_shape), dtype))
    finally:
        for m, training, cache in kept:
            vars(m).pop("forward", None)
            m.training, m.cache = training, cache
    counted = {id(p) for m, _ in tally.values() for p in m.parameters()}
    left = [name for name, p in module.named_parameters() if id(p) not in counted]
    if left:
        raise ValueError(f"module has {left[0]!r}, which no rule counts; expected its type in RULES")
    return sum(count for _, count in tally.values())


def _watch(module, tally):
    """Have a module's forward add to tally {id: (module, count)}, if there is a rule for its type."""
    rule = next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)
    if rule is None:
        return
    forward = module.forward

    def watched(x, *more, **options):
        out = forward(x, *more, **options)
        before = tally.get(id(module), (module, 0))[1]
        tally[id(module)] = module, before + rule(module, np.shape(x), out.shape)
        return out
    module.forward = watched


class Lookup(Module):
    """A learned vector for each symbol: ids (N, T) to (N, width, T)."""

    def __init__(self, symbols, width, rng):
        self.weight = Parameter(rng.standard_normal((symbols, width)).astype(np.float32))

    def forward(self, ids):
        """ids (N, T), integers, to (N, width, T)."""
        self.cache = check.symbols(ids, len(self.weight.data))
        return self.weight.data[self.cache].swapaxes(1, 2)

    def backward(self, dout):
        """dout (N, width, T); None, for integers have no gradient."""
        ids = self.kept().reshape(-1)
        rows = dout.swapaxes(1, 2).reshape(len(ids), -1)        # (N T, width)
        once = np.eye(len(self.weight.data), dtype=rows.dtype)[ids]             # (N T, symbols)
        self.weight.accumulate(once.T @ rows)


RULES[Lookup] = lambda module, x, out: 0                        # rows are read, nothing is multiplied


class CausalCharModel(Module):
    """Logits of the next symbol, from a tree of dilated causal convolutions.

    Parameters
    ----------
    symbols : int
    width : int, channels of every layer
    depth : int, number of convolutions; their dilations are 1, 2, 4, ...
    kernel_size : int, 2 for a binary tree
    rng : numpy.random.Generator, for the weights; by default one with the seed 0

    Attributes
    ----------
    field : int, how many symbols, the present one included, a prediction depends on
    """

    convolution = CausalConv1d

    def __init__(self, symbols=27, width=64, depth=4, kernel_size=2, rng=None):
        rng = np.random.default_rng(0) if rng is None else rng
        symbols, width = check.whole("symbols", symbols, 2), check.whole("width", width, 1)
        depth, kernel_size = check.whole("depth", depth, 1), check.whole("kernel_size", kernel_size, 1)
        self.table = Lookup(symbols, width, rng)
        dilations = [2 ** layer for layer in range(depth)]
        self.layers = [self.convolution(width, width, kernel_size, dilation, rng=rng)
                       for dilation in dilations]
        self.cuts = [ReLU() for _ in self.layers]
        self.head = Linear(width, symbols, rng)
        self.field = 1 + (kernel_size - 1) * sum(dilations)             # eq. 15.15

    def forward(self, ids):
        """ids (N, T), integers, to logits (N, T, symbols); those at t see ids[:, :t + 1]."""
        h = self.table(ids)                                     # (N, width, T)
        for layer, cut in zip(self.layers, self.cuts):
            h = h + cut(layer(h))
        return self.head(h.swapaxes(1, 2))

    def backward(self, dout):
        """dout (N, T, symbols); None, for integers have no gradient."""
        dh = self.head.backward(dout).swapaxes(1, 2)
        for layer, cut in zip(reversed(self.layers), reversed(self.cuts)):
            dh = dh + layer.backward(cut.backward(dh))
        return self.table.backward(dh)
