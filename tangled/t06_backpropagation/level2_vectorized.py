# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:bf6343e7f76e288c
"""Backpropagation, level 2: whole arrays, and the classes that train."""

import numpy as np

import tangled.t06_backpropagation.checks as check
from tangled.t05_mlp_forward import (
    kaiming_uniform,
    linear,
    mlp_forward,  # noqa: F401, its partner is below
    mse,
    relu,
    softmax_cross_entropy,
)
from tangled.t06_backpropagation.base import (
    Module,
    Parameter,
    Progress,
    evaluating,
    gradient_check,  # noqa: F401, stands beside its module
)


def linear_backward(dout, cache, input_grad=True):
    """Gradients of `linear`.

    Parameters
    ----------
    dout : ndarray of shape (N, out), or (..., out)
    cache : from `linear`
    input_grad : bool; False leaves out dx, for a layer whose input is data

    Returns
    -------
    dx : ndarray of shape (N, in), or (..., in); None if it was not wanted
    dW : ndarray of shape (in, out), summed over the batch
    db : ndarray of shape (out,), summed over the batch; left out if there was no b

    Raises
    ------
    ValueError : if dout has not the shape of the output
    """
    x, W, b = cache
    dout = check.gradient("dout", dout, (*x.shape[:-1], W.shape[1]), x.dtype)
    rows, drows = check.rows(x), check.rows(dout)               # (N, in), (N, out)
    dW = rows.T @ drows                                         # eq. 6.2, (in, N) @ (N, out)
    dx = (drows @ W.T).reshape(x.shape) if input_grad else None         # eq. 6.4
    if b is None:
        return dx, dW
    db = np.ones(len(drows), x.dtype) @ drows                   # eq. 6.3, (N,) @ (N, out)
    return dx, dW, db


def relu_backward(dout, cache):
    """Gradient of `relu`: dout where the output is not 0.

    Parameters
    ----------
    dout : ndarray of the shape of the output
    cache : from `relu`

    Returns
    -------
    dx : ndarray of the same shape
    """
    dout = check.gradient("dout", dout, cache.shape, cache.dtype)
    return np.where(cache != 0, dout, 0)                        # eq. 6.5


def softmax_cross_entropy_backward(dloss, cache):
    """Gradient of `softmax_cross_entropy`.

    Parameters
    ----------
    dloss : number, the gradient with respect to the loss; 1 if that is what is minimised
    cache : from `softmax_cross_entropy`

    Returns
    -------
    dlogits : ndarray of shape (N, K), or (..., K), in the dtype of the logits
    """
    p, y = cache
    dloss = check.scalar("dloss", dloss)
    dlogits = p.copy()                                          # (N, K), in C order
    dlogits.reshape(-1, p.shape[-1])[np.arange(y.size), y.reshape(-1)] -= 1     # eq. 6.8
    dlogits *= dloss / y.size                                   # eq. 6.10
    return dlogits


def mse_backward(dloss, cache):
    """Gradient of `mse` with respect to pred.

    Parameters
    ----------
    dloss : number, the gradient with respect to the loss
    cache : from `mse`

    Returns
    -------
    dpred : ndarray of the shape of pred
    """
    dloss = check.scalar("dloss", dloss)
    return np.asarray(cache * (2.0 * dloss / cache.size))       # eq. 6.11


def mlp_backward(dout, cache):
    """Gradients of `mlp_forward`, from the last layer to the first.

    Parameters
    ----------
    dout : ndarray of shape (N, d_L)
    cache : from `mlp_forward`

    Returns
    -------
    dx : ndarray of shape (N, d_0)
    grads : list of L tuples (dW, db), or (dW,) where there is no bias, first layer first
    """
    grads = []
    for of_linear, of_relu in reversed(cache):                  # eq. 6.6
        if of_relu is not None:
            dout = relu_backward(dout, of_relu)
        dout, *of_layer = linear_backward(dout, of_linear)
        grads.append(tuple(of_layer))
    return dout, grads[::-1]


class Linear(Module):
    """x @ weight + bias, for x (N, in_features) or (..., in_features).

    Parameters
    ----------
    in_features, out_features : int
    rng : numpy.random.Generator, for the weights: Kaiming, uniform; biases begin at 0
    bias : bool

    Attributes
    ----------
    weight : Parameter of shape (in_features, out_features), float32
    bias : Parameter of shape (out_features,), float32, or None
    """

    def __init__(self, in_features, out_features, rng, bias=True):
        self.weight = Parameter(kaiming_uniform(rng, (in_features, out_features)))
        self.bias = Parameter(np.zeros(out_features, np.float32)) if bias else None

    def forward(self, x):
        """x (..., in_features) to (..., out_features)."""
        bias = None if self.bias is None else self.bias.data
        out, self.cache = linear(x, self.weight.data, bias)
        return out

    def backward(self, dout):
        """dout (..., out_features) to dx (..., in_features)."""
        dx, *grads = linear_backward(dout, self.kept(), self.input_grad)
        for parameter, grad in zip((self.weight, self.bias), grads):
            parameter.accumulate(grad)
        return dx


class ReLU(Module):
    """The positive part of every entry, any shape."""

    def forward(self, x):
        """x to max(x, 0), same shape."""
        out, self.cache = relu(x)
        return out

    def backward(self, dout):
        """dout to dx, same shape."""
        return relu_backward(dout, self.kept())


class Sequential(Module):
    """Modules one after the other; their names are "0", "1", ...

    Parameters
    ----------
    modules : Modules, in the order of the forward pass
    """

    def __init__(self, *modules):
        self.layers = check.modules(modules, Module)

    def members(self):
        """[("0", first), ("1", second), ...]."""
        return [(str(k), module) for k, module in enumerate(self.layers)]

    def __len__(self):
        return len(self.layers)

    def __getitem__(self, k):
        return self.layers[k]

    @property
    def input_grad(self):
        """That of the first module."""
        return not self.layers or self.layers[0].input_grad

    @input_grad.setter
    def input_grad(self, wanted):
        """Hand it on to the first module."""
        if self.layers:
            self.layers[0].input_grad = wanted

    def forward(self, x):
        """x through all modules; the shape is the last one's."""
        for module in self.layers:
            x = module(x)
        return x

    def backward(self, dout):
        """dout back through all modules, the last one first."""
        for module in reversed(self.layers):
            dout = module.backward(dout)
        return dout


class MSELoss(Module):
    """Mean squared error over all entries."""

    def forward(self, pred, target):
        """The loss, a float, of pred and target of one shape."""
        loss, self.cache = mse(pred, target)
        return float(loss)

    def backward(self):
        """The gradient of the loss: dpred, in the shape of pred."""
        return mse_backward(1.0, self.kept())


class CrossEntropyLoss(Module):
    """Mean cross-entropy of integer classes under the softmax of the predictions."""

    def forward(self, pred, target):
        """The loss, a float, of logits pred (..., K) and classes target (...)."""
        loss, self.cache = softmax_cross_entropy(pred, target)
        return float(loss)

    def backward(self):
        """The gradient of the loss: dpred (..., K)."""
        return softmax_cross_entropy_backward(1.0, self.kept())


class DataLoader:
    """Mini-batches of arrays, in a new random order every epoch.

    Parameters
    ----------
    arrays : tuple of ndarrays with N rows each, such as (x, y)
    batch_size : int; the last batch may be smaller
    rng : numpy.random.Generator, or None for the order of the arrays
    drop_last : bool; leave out a last batch that is smaller

    Iterating yields tuples of arrays with up to `batch_size` rows each.
    """

    def __init__(self, arrays, batch_size, rng=None, drop_last=False):
        check.size("batch_size", batch_size)
        check.generator(rng, optional=True)
        self.arrays, self.batch_size = check.samples(arrays), int(batch_size)
        self.rng, self.drop_last = rng, drop_last

    def __len__(self):
        """Batches in an epoch."""
        n, size = len(self.arrays[0]), self.batch_size
        return n // size if self.drop_last else -(-n // size)

    def __iter__(self):
        n = len(self.arrays[0])
        order = np.arange(n) if self.rng is None else self.rng.permutation(n)
        for k in range(len(self)):
            rows = order[k * self.batch_size:(k + 1) * self.batch_size]
            yield tuple(array[rows] for array in self.arrays)


class GradientDescent:
    """Step against the gradient; whatever has `step` and `zero_grad` can take its place.

    Parameters
    ----------
    parameters : iterable of objects with `.data` and `.grad`
    lr : float, positive
    """

    def __init__(self, parameters, lr):
        check.rate(lr)
        self.parameters, self.lr = check.parameters(parameters), lr

    def step(self):
        """Subtract lr times its gradient, unless it is None, from each parameter, in place."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.data -= self.lr * parameter.grad          # eq. 6.12

    def zero_grad(self):
        """Fill every gradient with zeros."""
        for parameter in self.parameters:
            parameter.zero_grad()


class Engine:
    """A model, a loss and an optimiser, made to work together.

    Parameters
    ----------
    model : Module
    loss : Module with `forward(pred, target) -> float` and `backward() -> dpred`
    optimizer : object with `step()` and `zero_grad()`
    """

    def __init__(self, model, loss, optimizer):
        self.model, self.loss, self.optimizer = model, loss, optimizer

    def step(self, *batch, on_step=None):
        """Learn from one batch (inputs..., target): the loss before the step, predictions.

        `on_step()` is called between the backward pass and the update: a place for clipping
        and for schedules.
        """
        *inputs, target = batch
        pred = self.model(*inputs)
        loss = self.loss(pred, target)
        self.optimizer.zero_grad()
        self.model.backward(self.loss.backward())
        if on_step is not None:
            on_step()
        self.optimizer.step()
        return loss, pred

    def fit(self, loader, epochs, validation=None, progress=True, on_step=None,
            on_epoch=None):
        """Train for some epochs.

        Parameters
        ----------
        loader : DataLoader, or any iterable of tuples with a length
        epochs : int
        validation : a second loader, on which the model is evaluated after each epoch
        progress : True for a bar on stderr if that is a terminal, "always", or False
        on_step : function without arguments, called before each update
        on_epoch : function of the history, called after each epoch; True ends training

        Returns
        -------
        history : dict of lists with a number for each epoch: "loss", "accuracy" if the
            targets are classes, and "validation_loss" etc. if there is such a loader

        Raises
        ------
        ValueError : if the loader gives no samples
        """
        check.size("epochs", epochs)
        history, bar = {}, Progress(epochs * len(loader), progress)
        wanted, self.model.input_grad = self.model.input_grad, False
        try:
            for epoch in range(epochs):
                self.model.train()
                totals = _Totals()
                for batch in loader:
                    totals.add(*self.step(*batch, on_step=on_step), batch[-1])
                    mean = totals.loss / totals.seen
                    bar.advance(f"epoch {epoch + 1}/{epochs}  loss {mean:.4f}")
                self._record(history, totals.means(), validation)
                if on_epoch is not None and on_epoch(history):
                    break
        finally:
            self.model.input_grad = wanted
            bar.close()
        return history

    def _record(self, history, means, validation):
        """Append the means of an epoch, and those of the validation set, to the history."""
        if validation is not None:
            means |= {f"validation_{k}": v for k, v in self.evaluate(validation).items()}
        for name, value in means.items():
            history.setdefault(name, []).append(value)

    def evaluate(self, loader):
        """Means over all samples, at least one, in evaluation mode: {"loss": ..., "accuracy": ...}."""
        totals = _Totals()
        with evaluating(self.model):
            for *inputs, target in loader:
                pred = self.model(*inputs)
                totals.add(self.loss(pred, target), pred, target)
        return totals.means()


class _Totals:
    """Sums over batches of different sizes, and their means."""

    def __init__(self):
        self.loss, self.correct, self.counted, self.seen = 0.0, 0, 0, 0

    def add(self, loss, pred, target):
        """Count a batch: its mean loss, predictions (N, ...) and targets (N, ...)."""
        target = np.asarray(target)
        self.loss += loss * len(target)
        self.seen += len(target)
        if target.dtype.kind in "iu" and np.ndim(pred) == target.ndim + 1:
            self.correct += int((pred.argmax(axis=-1) == target).sum())
            self.counted += target.size

    def means(self):
        """{"loss": mean}, and "accuracy" if there were classes."""
        if not self.seen:
            raise ValueError("loader gave 0 samples; expected at least one batch")
        of_classes = {"accuracy": self.correct / self.counted} if self.counted else {}
        return {"loss": self.loss / self.seen} | of_classes
