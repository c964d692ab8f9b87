# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:2a6bc43b6799a6b9
"""Chapter 23: arguments checked, for all levels and for yours."""

import numbers

import numpy as np

from tangled.t18_rnn.checks import floats, generator, gradient, ids, shown, table, whole, working

__all__ = ["floats", "generator", "gradient", "ids", "lengths", "log_probs", "masked", "penalty", "real", "scalar",
           "searching", "teacher", "texts", "whole", "working"]


def lengths(name, values, shape, T, least=0):
    """Integers (B,) from `least` to T."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu" or values.shape != shape:
        raise ValueError(f"{name} is {values.dtype} {values.shape}; expected integers {shown(shape)}")
    if values.size and (values.min() < least or values.max() > T):
        raise ValueError(f"{name} has values from {values.min()} to {values.max()}; expected {least} to {T}")
    return values.astype(np.int64)


def scalar(name, value):
    """A real number as a float."""
    if np.ndim(value) or np.asarray(value).dtype.kind not in "fiu":
        raise ValueError(f"{name} = {value!r}; expected a number")
    return float(value)


def masked(logits, targets, mask):
    """logits (..., V) of floats, targets (...) below V where the mask (...) of bool is true."""
    logits, targets, mask = np.asarray(logits), np.asarray(targets), np.asarray(mask)
    if logits.dtype.kind != "f" or logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits is {logits.dtype} {logits.shape}; expected floats (..., V)")
    if mask.dtype != bool or mask.shape != logits.shape[:-1]:
        raise ValueError(f"mask is {mask.dtype} {mask.shape}; expected bool {shown(logits.shape[:-1])}")
    if targets.dtype.kind not in "iu" or targets.shape != mask.shape:
        raise ValueError(f"targets is {targets.dtype} {targets.shape}; expected integers {shown(mask.shape)}")
    ids("targets", targets[mask], logits.shape[-1])
    return logits, targets, mask


def teacher(h0, tokens, lengths_, arrays, inputs):
    """h0 (B, H), tokens (B, T + 1), lengths (B,), the decoder's seven arrays, inputs (B, T) or None."""
    words, w_ih, w_hh, b_ih, b_hh, w_out, b_out = arrays
    h0, words = floats("h0", h0, ("B", "H")), table(words)
    (B, H), (V, E), dtype = h0.shape, words.shape, h0.dtype
    if words.dtype != dtype:
        raise ValueError(f"table has dtype {words.dtype}; expected {dtype}, as h0")
    w_ih, w_hh = floats("w_ih", w_ih, (E, 3 * H), dtype), floats("w_hh", w_hh, (H, 3 * H), dtype)
    b_ih, b_hh = floats("b_ih", b_ih, (3 * H,), dtype), floats("b_hh", b_hh, (3 * H,), dtype)
    w_out, b_out = floats("w_out", w_out, (H, V), dtype), floats("b_out", b_out, (V,), dtype)
    tokens = ids("tokens", tokens, V)
    if tokens.ndim != 2 or len(tokens) != B or tokens.shape[1] == 0:
        raise ValueError(f"tokens has shape {tokens.shape}; expected ({B}, T + 1)")
    T = tokens.shape[1] - 1
    if inputs is not None:
        inputs = ids("inputs", inputs, V)
        if inputs.shape != (B, T):
            raise ValueError(f"inputs has shape {inputs.shape}; expected ({B}, {T})")
    return (h0, tokens, lengths("lengths", lengths_, (B,), T), words, w_ih, w_hh, b_ih, b_hh, w_out, b_out), inputs


def penalty(value):
    """A finite number, at least 0."""
    good = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not good or not 0 <= value < np.inf:
        raise ValueError(f"length_penalty = {value!r}; expected a finite number, at least 0")
    return float(value)


def searching(bos, eos, max_len, beam=1, length_penalty=0.0):
    """bos, eos, max_len, beam as int, the penalty as float."""
    return (whole("bos", bos, 0), whole("eos", eos, 0), whole("max_len", max_len), whole("beam", beam),
            penalty(length_penalty))


def log_probs(found, rows, eos):
    """What a step gave: log-probabilities (rows, V), at most 0 but for rounding, as float64."""
    found = np.asarray(found)
    if found.dtype.kind != "f" or found.ndim != 2 or len(found) != rows or found.shape[1] <= eos:
        raise ValueError(f"log_probs is {found.dtype} {found.shape}; expected floats ({rows}, V) with V above {eos}")
    if found.size and not found.max() <= 1e-2:
        raise ValueError(f"log_probs has values up to {found.max():.4g}; expected at most 0")
    return np.minimum(found, 0).astype(np.float64)


def real(name, value):
    """A finite number from 0 to 1."""
    if not 0 <= scalar(name, value) <= 1:
        raise ValueError(f"{name} = {value!r}; expected 0 to 1")
    return float(value)


def texts(hypotheses, references):
    """Two lists of str of one length."""
    hypotheses, references = list(hypotheses), list(references)
    for name, found in (("hypotheses", hypotheses), ("references", references)):
        if not all(isinstance(text, str) for text in found):
            raise ValueError(f"{name} has entries that are no text; expected str")
    if len(hypotheses) != len(references):
        raise ValueError(f"hypotheses has {len(hypotheses)} texts; expected {len(references)}, as references")
    return hypotheses, references
