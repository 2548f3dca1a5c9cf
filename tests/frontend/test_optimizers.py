"""Optimizers against float64 NumPy over several steps, eager and as one graph; the order of operations; state."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops, optimizers
from graphkeras.optimizers import schedules
from tests.frontend.math_helpers import run_traced

RNG = np.random.default_rng(1)
START = [RNG.normal(size=(4, 3)), RNG.normal(size=(3,))]
GRADS = [[RNG.normal(size=w.shape) for w in START] for _ in range(4)]
STEPS = len(GRADS)


def _variables(start=START):
    return [keras.Variable(w.astype("float32"), name=f"w{i}") for i, w in enumerate(start)]


# Reference updates in float64: (w, g, state dict, t from 1) -> new w.
def _sgd(w, g, s, t):
    return w - 0.1 * g


def _momentum(w, g, s, t):
    s["m"] = 0.9 * s.get("m", 0) - 0.1 * g
    return w + s["m"]


def _nesterov(w, g, s, t):
    s["m"] = 0.9 * s.get("m", 0) - 0.1 * g
    return w + 0.9 * s["m"] - 0.1 * g


def _rmsprop(w, g, s, t):
    s["v"] = 0.8 * s.get("v", 0) + 0.2 * g**2
    s["a"] = 0.8 * s.get("a", 0) + 0.2 * g
    s["m"] = 0.5 * s.get("m", 0) + 0.1 * g / np.sqrt(s["v"] - s["a"] ** 2 + 1e-7)
    return w - s["m"]


def _moments(g, s):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    return s["m"], s["v"]


def _adam(w, g, s, t):
    m, v = _moments(g, s)
    return w - 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)


def _amsgrad(w, g, s, t):
    m, v = _moments(g, s)
    s["h"] = np.maximum(s.get("h", 0), v)
    return w - 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(s["h"]) + 1e-7)


def _adamw(w, g, s, t):
    return _adam(w - 0.1 * 0.05 * w, g, s, t)


def _adamax(w, g, s, t):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["u"] = np.maximum(0.999 * s.get("u", 0), np.abs(g))
    return w - 0.1 / (1 - 0.9**t) * s["m"] / (s["u"] + 1e-7)


def _adagrad(w, g, s, t):
    s["a"] = s.get("a", 0.1) + g**2
    return w - 0.1 * g / np.sqrt(s["a"] + 1e-7)


def _adadelta(w, g, s, t):
    s["g"] = 0.95 * s.get("g", 0) + 0.05 * g**2
    delta = g * np.sqrt(s.get("d", 0) + 1e-7) / np.sqrt(s["g"] + 1e-7)
    s["d"] = 0.95 * s.get("d", 0) + 0.05 * delta**2
    return w - 0.1 * delta


def _nadam(w, g, s, t):
    m, v = _moments(g, s)
    u, next_u = (0.9 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
    s["p"] = s.get("p", 1.0) * u
    m_hat = next_u * m / (1 - s["p"] * next_u) + (1 - u) * g / (1 - s["p"])
    return w - 0.1 * m_hat / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)


def _lion(w, g, s, t):
    step = np.sign(0.9 * s.get("m", 0) + 0.1 * g)
    s["m"] = 0.99 * s.get("m", 0) + 0.01 * g
    return w - 0.1 * step


def _lamb(w, g, s, t):
    m, v = _moments(g, s)
    update = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
    return w - 0.1 * np.linalg.norm(w) / np.linalg.norm(update) * update


def _ftrl(w, g, s, t):
    old = s.get("a", 0.1)
    s["a"] = old + g**2
    s["l"] = s.get("l", 0) + g + 2 * 0.01 * w - (np.sqrt(s["a"]) - np.sqrt(old)) / 0.1 * w
    clipped = np.clip(s["l"], -0.02, 0.02)
    return (clipped - s["l"]) / (np.sqrt(s["a"]) / 0.1 + 2 * 0.03)


def _adafactor(w, g, s, t):
    rho = min(0.1, 1 / np.sqrt(t))
    scale = max(1e-3, np.sqrt((w**2).mean())) * rho
    squares, decay = g**2 + 1e-30, 1 - t**-0.8
    if w.ndim == 2:
        s["r"] = decay * s.get("r", 0) + (1 - decay) * squares.mean(-1)
        s["c"] = decay * s.get("c", 0) + (1 - decay) * squares.mean(-2)
        v = np.outer(s["r"] / s["r"].mean(), s["c"])
    else:
        v = s["v"] = decay * s.get("v", 0) + (1 - decay) * squares
    update = g / np.sqrt(v)
    return w - scale * update / max(1.0, np.sqrt((update**2).mean()))


def _schedule_free(w, g, s, t):
    rate, z = 0.1 * min(t / 3, 1), s.get("z", w)
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    x = (w - 0.1 * z) / 0.9
    s["z"] = z - rate * g / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8)
    return 0.1 * s["z"] + 0.9 * ((1 - 1 / t) * x + s["z"] / t)


REFERENCES = {
    "SGD": ({}, _sgd),
    "SGD momentum": ({"momentum": 0.9}, _momentum),
    "SGD nesterov": ({"momentum": 0.9, "nesterov": True}, _nesterov),
    "RMSprop": ({"rho": 0.8, "momentum": 0.5, "centered": True}, _rmsprop),
    "Adam": ({}, _adam),
    "Adam amsgrad": ({"amsgrad": True}, _amsgrad),
    "AdamW": ({"weight_decay": 0.05}, _adamw),
    "Adamax": ({}, _adamax),
    "Adagrad": ({}, _adagrad),
    "Adadelta": ({}, _adadelta),
    "Nadam": ({}, _nadam),
    "Lion": ({}, _lion),
    "Lamb": ({}, _lamb),
    "Ftrl": (
        {
            "l1_regularization_strength": 0.02,
            "l2_regularization_strength": 0.03,
            "l2_shrinkage_regularization_strength": 0.01,
        },
        _ftrl,
    ),
    "Adafactor": ({}, _adafactor),
    "ScheduleFreeAdamW": ({"warmup_steps": 3}, _schedule_free),
}


def _expected(update):
    weights, states = [w.copy() for w in START], [{} for _ in START]
    for t, grads in enumerate(GRADS, 1):
        weights = [update(w, g, s, t) for w, g, s in zip(weights, grads, states, strict=True)]
    return weights


def _train(optimizer, variables, traced):
    optimizer.build(variables)
    for grads in GRADS:
        arrays = [g.astype("float32") for g in grads]
        if traced:
            run_traced(lambda *gs: optimizer.apply(gs, variables), arrays)
        else:
            optimizer.apply([ops.convert_to_tensor(a) for a in arrays], variables)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", REFERENCES)
def test_steps_match_numpy(name, traced):
    arguments, update = REFERENCES[name]
    variables = _variables()
    optimizer = getattr(optimizers, name.split()[0])(learning_rate=0.1, **arguments)
    _train(optimizer, variables, traced)
    for variable, expected in zip(variables, _expected(update), strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=3e-5, atol=3e-6)
    assert int(optimizer.iterations) == STEPS


def test_muon_orthogonalises_matrices_and_adamw_updates_the_rest():
    variables = _variables()
    optimizer = optimizers.Muon(learning_rate=0.1, weight_decay=None, adam_weight_decay=None, rms_rate=None)
    optimizer.apply([ops.convert_to_tensor(g.astype("float32")) for g in GRADS[0]], variables)
    step = (START[0] - variables[0].numpy()) / 0.1
    singular = np.linalg.svd(step, compute_uv=False)
    assert (singular > 0.6).all() and (singular < 1.4).all()
    np.testing.assert_allclose(variables[1].numpy(), _adam(START[1], GRADS[0][1], {}, 1), rtol=1e-4)


OPTIONS = {
    "accumulation": {"gradient_accumulation_steps": 2},
    "accumulation, ema": {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm, decay": {"global_clipnorm": 0.5, "weight_decay": 0.1},
    "clipvalue, scale": {"clipvalue": 0.2, "loss_scale_factor": 8.0},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["SGD", "Adam", "Adafactor"])
def test_traced_steps_are_the_eager_ones(kind, options):
    results = []
    for traced in (False, True):
        variables = _variables()
        optimizer = getattr(optimizers, kind)(learning_rate=0.1, **OPTIONS[options])
        _train(optimizer, variables, traced)
        results.append([v.numpy() for v in (*variables, *optimizer.variables)])
    for eager, traced in zip(*results, strict=True):
        np.testing.assert_allclose(traced, eager, rtol=1e-6, atol=1e-7)


def test_accumulated_steps_are_one_step_with_the_mean_gradient():
    variables = _variables()
    optimizer = optimizers.SGD(0.1, gradient_accumulation_steps=2, clipvalue=0.3)
    _train(optimizer, variables, traced=True)
    for i, variable in enumerate(variables):
        expected = START[i]
        for a, b in ((0, 1), (2, 3)):
            expected = expected - 0.1 * np.clip((GRADS[a][i] + GRADS[b][i]) / 2, -0.3, 0.3)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)
    assert int(optimizer.iterations) == 2


def test_order_unscale_clip_decay_update_constraint():
    variable = keras.Variable([2.0, -1.0])
    variable.constraint = keras.constraints.NonNeg()
    optimizer = optimizers.SGD(0.5, weight_decay=0.1, clipvalue=1.0, loss_scale_factor=4.0)
    optimizer.apply([ops.convert_to_tensor([8.0, -0.4])], [variable])
    # unscaled 2, -0.1; clipped 1, -0.1; decayed 1.9, -0.95; updated 1.4, -0.9; constrained 1.4, 0
    np.testing.assert_allclose(variable.numpy(), [1.4, 0.0], rtol=1e-6)


def test_global_clipnorm_scales_all_gradients_by_one_factor():
    variables = [keras.Variable([0.0]), keras.Variable([0.0])]
    optimizers.SGD(1.0, global_clipnorm=1.0).apply([ops.ones((1,)) * 3.0, ops.ones((1,)) * 4.0], variables)
    np.testing.assert_allclose([float(v[0]) for v in variables], [-0.6, -0.8], rtol=1e-6)


def test_weight_decay_exclusion():
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
    optimizer = optimizers.AdamW(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.zeros((1,)), ops.zeros((1,))], [kernel, bias])
    assert (float(kernel[0]), float(bias[0])) == (0.5, 1.0)
    with pytest.raises(ValueError, match="before the optimizer is built"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


LAYOUTS = {
    "SGD": ["iteration", "learning_rate"],
    "Adam": ["iteration", "learning_rate", "w0_momentum", "w0_velocity", "w1_momentum", "w1_velocity"],
    "Adafactor": ["iteration", "learning_rate", "w0", "w0", "w0_velocity", "w1", "w1", "w1_velocity"],
    "Muon": ["iteration", "learning_rate", "w0_momentum", "w1_momentum", "w1_velocity"],
    "Ftrl": ["iteration", "learning_rate", "w0_accumulator", "w0_linear", "w1_accumulator", "w1_linear"],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_order_of_variables(name):
    optimizer = optimizers.get(name)
    optimizer.build(_variables())
    assert [v.name for v in optimizer.variables] == LAYOUTS[name]


def test_order_of_variables_with_averages_and_accumulators():
    optimizer = optimizers.SGD(momentum=0.9, use_ema=True, gradient_accumulation_steps=2)
    optimizer.build(_variables())
    names = [v.name for v in optimizer.variables][2:]
    kinds = ("average", "gradient_accumulator", "momentum")
    assert names == [f"w{i}_{kind}" for kind in kinds for i in (0, 1)]


@pytest.mark.parametrize("traced", [False, True])
def test_loss_scale_skips_bad_steps_and_grows(traced):
    variables = [keras.Variable([1.0])]
    optimizer = optimizers.LossScaleOptimizer(optimizers.SGD(0.5), initial_scale=4.0, dynamic_growth_steps=2)
    optimizer.build(variables)

    def step(value):
        array = np.array([value], "float32")
        if traced:
            run_traced(lambda g: optimizer.apply([g], variables), [array])
        else:
            optimizer.apply([ops.convert_to_tensor(array)], variables)

    assert float(optimizer.scale_loss(2.0)) == 8.0
    step(np.inf)
    assert (float(variables[0][0]), float(optimizer.dynamic_scale), int(optimizer.iterations)) == (1.0, 2.0, 0)
    step(2.0)
    assert (float(variables[0][0]), float(optimizer.dynamic_scale), int(optimizer.iterations)) == (0.5, 2.0, 1)
    step(2.0)
    assert (float(variables[0][0]), float(optimizer.dynamic_scale), int(optimizer.step_counter)) == (0.0, 4.0, 0)


def test_stateless_apply_changes_nothing():
    variables = _variables()
    optimizer = optimizers.Adam(0.1)
    optimizer.build(variables)
    grads = [ops.convert_to_tensor(g.astype("float32")) for g in GRADS[0]]
    new, state = optimizer.stateless_apply(optimizer.variables, grads, variables)
    assert int(optimizer.iterations) == 0 and int(state[0]) == 1
    np.testing.assert_array_equal(variables[0].numpy(), START[0].astype("float32"))
    optimizer.apply(grads)
    np.testing.assert_array_equal(variables[0].numpy(), new[0].numpy())


def test_learning_rate_can_be_set_unless_scheduled():
    optimizer = optimizers.SGD(0.1)
    optimizer.learning_rate = 0.5
    assert float(optimizer.learning_rate) == 0.5
    optimizer.learning_rate = schedules.ExponentialDecay(0.1, 10, 0.5)
    assert [v.name for v in optimizer.variables] == ["iteration"]
    with pytest.raises(TypeError, match="not settable"):
        optimizer.learning_rate = 0.1


def test_schedule_is_evaluated_at_each_step():
    variable = keras.Variable([0.0])
    optimizer = optimizers.SGD(schedules.PiecewiseConstantDecay([0, 1], [1.0, 10.0, 100.0]))
    seen = []
    for _ in range(3):
        run_traced(lambda g: optimizer.apply([g], [variable]), [np.array([-1.0], "float32")])
        seen.append(float(variable[0]))
    assert seen == [1.0, 11.0, 111.0]


def _cosine(step, steps):
    return 0.5 * (1 + np.cos(np.pi * min(step, steps) / steps))


SCHEDULES = [
    (schedules.ExponentialDecay(0.1, 4, 0.5), lambda s: 0.1 * 0.5 ** (s / 4)),
    (schedules.ExponentialDecay(0.1, 4, 0.5, staircase=True), lambda s: 0.1 * 0.5 ** (s // 4)),
    (schedules.InverseTimeDecay(0.1, 4, 0.5), lambda s: 0.1 / (1 + 0.5 * s / 4)),
    (schedules.PolynomialDecay(0.1, 5, 0.01, power=2.0), lambda s: 0.09 * (1 - min(s, 5) / 5) ** 2 + 0.01),
    (
        schedules.PolynomialDecay(0.1, 5, 0.01, cycle=True),
        lambda s: 0.09 * (1 - s / (5 * max(1, np.ceil(s / 5)))) + 0.01,
    ),
    (schedules.PiecewiseConstantDecay([2, 5], [1.0, 0.5, 0.1]), lambda s: 1.0 if s <= 2 else 0.5 if s <= 5 else 0.1),
    (schedules.CosineDecay(0.1, 6, alpha=0.2), lambda s: 0.1 * (0.8 * _cosine(s, 6) + 0.2)),
    (
        schedules.CosineDecay(0.1, 6, warmup_target=0.5, warmup_steps=3),
        lambda s: 0.1 + 0.4 * s / 3 if s < 3 else 0.5 * _cosine(s - 3, 6),
    ),
    (schedules.CosineDecayRestarts(0.1, 4, t_mul=1.0, m_mul=0.5), lambda s: 0.1 * 0.5 ** (s // 4) * _cosine(s % 4, 4)),
    (schedules.CosineDecayRestarts(0.1, 2, t_mul=2.0), lambda s: 0.1 * (_cosine(s, 2) if s < 2 else _cosine(s - 2, 4))),
]


@pytest.mark.parametrize("schedule, expected", SCHEDULES, ids=lambda x: getattr(x, "name", ""))
def test_schedules(schedule, expected):
    for step in range(6):
        np.testing.assert_allclose(float(schedule(step)), expected(step), rtol=1e-5, atol=1e-8)
        (traced,) = run_traced(schedule, [np.int32(step)])
        np.testing.assert_allclose(traced, expected(step), rtol=1e-5, atol=1e-8)
    again = schedules.deserialize(schedules.serialize(schedule))
    assert again.get_config() == schedule.get_config()


def test_pickled_optimizer_goes_on():
    variables = _variables()
    optimizer = optimizers.Adam(0.1)
    grads = [ops.convert_to_tensor(g.astype("float32")) for g in GRADS[0]]
    optimizer.apply(grads, variables)
    again = pickle.loads(pickle.dumps(optimizer))
    optimizer.apply(grads)
    again.apply(grads)
    np.testing.assert_array_equal(again.variables[2].numpy(), optimizer.variables[2].numpy())


def test_custom_optimizer_tracks_its_state():
    class Counted(keras.optimizers.Optimizer):
        def build(self, variables):
            super().build(variables)
            self.calls = self.add_optimizer_variables(variables, "calls")

        def update_step(self, gradient, variable, learning_rate):
            self.assign_add(self.calls[self._get_variable_index(variable)], ops.ones(variable.shape))
            self.assign_sub(variable, learning_rate * gradient)

    optimizer = Counted(learning_rate=0.1)
    _train(optimizer, _variables(), traced=True)
    assert optimizer.variables[2].numpy().max() == STEPS


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="Use `learning_rate` instead of `lr`"):
        optimizers.Adam(lr=0.1)
    with pytest.raises(ValueError, match="Only one of"):
        optimizers.SGD(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer = optimizers.SGD()
        optimizer.apply([ops.ones((1,))], [keras.Variable([1.0])])
        optimizer.apply([ops.ones((1,))], [keras.Variable([1.0])])
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizers.SGD().apply([None], [keras.Variable([1.0])])
    with pytest.raises(ValueError, match="`learning_rate` should be float"):
        optimizers.SGD("fast")
