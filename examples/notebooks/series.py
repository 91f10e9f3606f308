# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Predicting a series
#
# What comes next in a row of numbers? We predict a sine with noise one step ahead, which is easy, and 64 steps
# ahead, which is not; see how errors feed errors; and let `elman` measure a dozen forecasters on the same values,
# with prediction intervals. The last section reads a table; put your own there.
#
# All cells together take about a minute.

# %%
import datetime
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import elman
from elman.errors import DataError

QUICK = bool(os.environ.get("NOTEBOOK_QUICK"))  # a run of seconds, for tests
HORIZON = 16 if QUICK else 64

# %% [markdown]
# ## 1. The series, and its noise floor
#
# $$x_t = \sin(0.01\, t) + \varepsilon_t, \qquad \varepsilon_t \sim N(0,\, 0.2^2), \qquad t = 1, \dots, 1000$$
#
# The noise is independent at each step. Even a forecast with the true sine has a mean squared error of $0.2^2 = 0.04$:
# that is the **noise floor**. The other bound is the **naive** forecast, which repeats the last value. A model can gain
# what lies between the two. The series is that of Zhang et al. 2021 (Dive into Deep Learning, section 8.1).
#
# The first 604 values are for training. Time has an order: a model must not learn from later values.

# %%
series = elman.sine(seed=0)
x, cut = series.values, series.train_size
plt.plot(range(1, cut + 1), x[:cut], ".", markersize=3, label="training")
plt.plot(range(cut + 1, len(x) + 1), x[cut:], ".", markersize=3, label="held out")
plt.plot(range(1, len(x) + 1), np.sin(0.01 * np.arange(1, len(x) + 1)), color="black", linewidth=1, label="sine")
plt.xlabel("t")
plt.legend()
plt.show()

# %% [markdown]
# ## 2. A window and a line
#
# The simplest model that learns: the next value is a weighted sum of the last $\tau$.
#
# $$\hat x_{t+1} = w_0 + w_1 x_t + w_2 x_{t-1} + \dots + w_\tau x_{t-\tau+1}$$
#
# The weights that make the squared error least are the solution of a system of linear equations.


# %%
def windows(x, tau):
    """Rows of tau values, the latest first, with a 1 before; and the value after each."""
    rows = np.lib.stride_tricks.sliding_window_view(x[:-1], tau)[:, ::-1]
    return np.column_stack((np.ones(len(rows)), rows)), x[tau:]


TAU = 4
rows, targets = windows(x[:cut], TAU)
w, *_ = np.linalg.lstsq(rows, targets, rcond=None)
rows, targets = windows(x[cut - TAU :], TAU)
naive = np.mean((x[cut:] - x[cut - 1 : -1]) ** 2)
print("weights", w.round(2))
print(f"one step ahead: {np.mean((rows @ w - targets) ** 2):.3f}, naive {naive:.3f}, floor 0.040")

# %% [markdown]
# The weights are nearly a mean of the last four values: averaging makes noise smaller. So one step ahead looks
# solved. But has the model learnt that there is a sine?
#
# ## 3. Rollout: predictions from predictions
#
# To predict $k$ steps ahead, a one-step model reads its own predictions: $\hat x_{t+2} = f(\hat x_{t+1}, x_t,
# \dots)$. The error of $\hat x_{t+1}$ is passed on. With $c = \partial f / \partial \hat x_{t+1}$,
#
# $$e_{t,2} = e_{t+1,1} + c\, e_{t,1}, \qquad E_2 = (1 + c^2)\, E_1 \quad \text{if errors are independent.}$$


# %%
def rollout(origin, steps):
    """The predictions of the line 1 .. steps after x[origin], the last value that it reads."""
    seen = list(x[origin - TAU + 1 : origin + 1])
    for _ in range(steps):
        seen.append(w[0] + w[1:] @ seen[: -TAU - 1 : -1])
    return np.array(seen[TAU:])


origins = range(cut - 1, len(x) - HORIZON)
errors = np.array([x[o + 1 : o + 1 + HORIZON] - rollout(o, HORIZON) for o in origins])
mse = (errors**2).mean(0)
print(f"E_1 = {mse[0]:.4f}, (1 + c^2) E_1 = {(1 + w[1] ** 2) * mse[0]:.4f}, E_2 = {mse[1]:.4f}")
path = rollout(cut - 1, len(x) - cut)
plt.plot(x, ".", markersize=2, color="grey")
plt.plot(range(cut, len(x)), path, label="rollout from 604 on")
plt.legend()
plt.show()

# %% [markdown]
# It falls to the mean, and stays there: four noisy values do not tell a slow rise from a slow fall. A model that is
# good one step ahead need not be any good 64 steps ahead. **Measure at the distance that you need.**
#
# ## 4. Many forecasters on the same values
#
# `elman.forecast` fits each on the training part and forecasts from *every* held-out origin, 1 to $K$ steps ahead.
# A name is a model and its window: `ar-4` is our line, `ridge-128` reads 128 values and shrinks its weights by a
# strength that was chosen for many steps ahead, `mlp-reference-4` is the network of Zhang et al. 2021, `gru-64` reads
# the series value by value and keeps a state:
#
# $$h_t = \mathrm{GRU}(x_t, h_{t-1}), \qquad \hat x_{t+1} = w \cdot h_t + b$$

# %%
MODELS = ["ar-4", "mlp-reference-4"] + ([] if QUICK else ["mlp-16", "gru-64", "ridge-128"])
study = elman.forecast(series, MODELS, horizon=HORIZON)
STEPS = [k for k in (1, 4, 16, 64) if k <= HORIZON]
print("steps ahead     ", *(f"{k:>6}" for k in STEPS))
for model in study.models:
    print(f"{model.name:<16}", *(f"{model.mse[k - 1]:6.3f}" for k in STEPS))

# %% [markdown]
# Our line has the row `ar-4`. The library may be wrong: let us check that both agree.

# %%
np.testing.assert_allclose(study.model("ar-4").mse[0], np.mean((rows @ w - targets) ** 2))

for model in study.models:
    plt.plot(range(1, HORIZON + 1), model.mse, label=model.name)
plt.axhline(0.04, color="grey", linestyle=":", label="noise")
plt.xscale("log")
plt.yscale("log")
plt.xlabel("k, steps ahead")
plt.ylabel("squared error")
plt.legend()
plt.show()

# %% [markdown]
# Look where each line crosses that of `last`, the naive forecast: from there on it is worse than the last
# value. The long window stays near the floor at all distances. The networks were trained to see one step, and pay for
# it.
#
# ## 5. How wrong will it be?
#
# A forecast without its error is half a forecast. From the errors $k$ steps ahead on values that the model had not
# learnt from, the interval takes the quantile that holds a share of them (*split conformal*). Its coverage is then
# measured.

# %%
best = elman.forecast(series, ["ar-4" if QUICK else "ridge-128"], horizon=HORIZON)
trial, half = best.model(best.chosen).by_seed[0], best.half_width(0.8)
covered = np.nanmean(trial.coverage(0.8))
print(f"{best.chosen}: 80 % intervals, made of the end of the training part, hold {covered:.0%} of the held-out values")
after = range(len(x), len(x) + HORIZON)
plt.plot(range(len(x) - 300, len(x)), x[-300:], ".", markersize=3, color="grey")
plt.plot(after, best.forecast, label=best.chosen)
plt.fill_between(after, best.forecast - half, best.forecast + half, alpha=0.2, label="80 %")
plt.legend()
plt.show()

# %% [markdown]
# ## 6. A table of yours
#
# `read_series` reads CSV and Parquet, finds the times and the numeric columns, and refuses what is not even in time
# until a rule is named: a missing day is an error, not a guess. Here we write such a table ourselves: sales with a
# weekly rhythm and a day that is missing.

# %%
rng = np.random.default_rng(0)
day, weekday = datetime.date(2024, 1, 1), np.array([100, 95, 97, 104, 120, 150, 60])
sold = [(day + datetime.timedelta(i), weekday[i % 7] + 0.1 * i + rng.normal(0, 5)) for i in range(200) if i != 40]
path = Path(tempfile.mkdtemp()) / "sales.csv"
path.write_text("date,shop\n" + "".join(f"{when},{value:.1f}\n" for when, value in sold))
try:
    elman.read_series(str(path))
except DataError as error:
    print("refused:", error)

# %%
[shop], _ = elman.read_series(str(path), missing="previous")
study = elman.forecast(shop, ["ridge-16"] if QUICK else ["auto"], horizon=14)
for model in sorted(study.models, key=lambda m: m.mse.mean()):
    print(f"{model.name:<14} {model.mse.mean() ** 0.5:6.1f} off, on average over two weeks")
half = study.half_width(0.8)
plt.plot(shop.values[-42:], "o-", markersize=3, color="grey")
plt.plot(range(42, 56), study.forecast, label=study.chosen)
plt.fill_between(range(42, 56), study.forecast - half, study.forecast + half, alpha=0.2, label="80 %")
plt.legend()
plt.show()

# %% [markdown]
# The weekly rhythm was found in the dates: `seasonal-7`, the value of a week ago, is the naive forecast to beat
# here. If nothing beats it, use it.
#
# Try next: `elman.sine(noise=0.05)`; other seeds; `mlp-reference-64` in a rollout (it may leave the range of the
# data; `trial.diverged_at` is the step); `horizon=28`; a table of yours.
