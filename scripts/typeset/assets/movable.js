// Figures that a hand can move. The printed figure stays where no script runs; the same arithmetic as in the chapters.
(function (global) {
  "use strict";

  // -- arithmetic: plain functions, which the tests compare with the chapters' own
  const sums = {
    // angle of pair i at position p is p theta_i, theta_i = base^(-2i/D)
    rope(position, base, dim) {
      const angles = [];
      for (let i = 0; i < dim / 2; i++) angles.push(position * base ** (-2 * i / dim));
      return angles;
    },
    // descent with momentum on (w1^2 + 25 w2^2) / 2: v = mu v + g, w = w - lr v
    momentum(lr, mu, steps) {
      let w = [-3, 1], v = [0, 0];
      const path = [w];
      for (let k = 0; k < steps; k++) {
        v = v.map((old, i) => mu * old + [1, 25][i] * w[i]);
        w = w.map((old, i) => old - lr * v[i]);
        path.push(w);
      }
      return path;
    },
    // first places of the windows along an axis of the padded picture
    windows(size, kernel, stride, padding) {
      const found = [];
      for (let at = 0; at + kernel <= size + 2 * padding; at += stride) found.push(at);
      return found;
    },
    // probabilities at a temperature, and which the smallest set of mass topP keeps; logits fall
    sampling(logits, temperature, topP) {
      const mass = logits.map((z) => Math.exp((z - logits[0]) / temperature));
      const total = mass.reduce((a, b) => a + b, 0);
      let before = 0;
      return mass.map((m) => {
        const kept = before / total < topP;
        before += m;
        return { p: m / total, kept };
      });
    },
    // tiles of a causal square of scores: which are computed, and what one head moves forward
    tiles(length, dim, blockQ, blockK) {
      const grid = [];
      let moved = 0;
      for (let i = 0; i < length; i += blockQ) {
        const rows = Math.min(blockQ, length - i);
        moved += rows * (2 * dim + 2);
        for (let j = 0; j < length; j += blockK) {
          const columns = Math.min(blockK, length - j);
          const seen = j <= i + rows - 1;
          if (seen) moved += columns * 2 * dim;
          grid.push({ i, j, rows, columns, seen });
        }
      }
      return { grid, moved };
    },
  };

  // -- drawing: [tag, attributes, text] lists, in a box of 360 by `height`
  const line = (x1, y1, x2, y2, tone = "ink", width = 1.5) => ["line", { x1, y1, x2, y2, class: tone, "stroke-width": width }];
  const words = (x, y, text, anchor = "middle") => ["text", { x, y, "text-anchor": anchor }, text];
  const box = (x, y, width, height, tone) => ["rect", { x, y, width, height, class: tone }];
  const range = (n) => Array.from({ length: n }, (_, k) => k);
  const short = (x) => x !== 0 && Math.abs(x) < 0.01 ? x.toExponential(1) : String(Math.round(x * 1000) / 1000);
  const LETTERS = range(16).map((k) => -1.5 * Math.log(k + 1));

  const figures = {
    rope: {
      title: "Four pairs of a vector with 8 features, turned to a position", height: 120,
      knobs: [["position", "Position", 0, 100, 1, 3], ["base", "Base, as a power of ten", 1, 6, 0.5, 4]],
      draw({ position, base }) {
        const angles = sums.rope(position, 10 ** base, 8);
        return {
          shapes: angles.flatMap((angle, i) => {
            const x = 45 + 90 * i;
            return [["circle", { cx: x, cy: 50, r: 38, class: "frame" }], line(x, 50, x + 38, 50, "faint"),
              line(x, 50, x + 38 * Math.cos(angle), 50 - 38 * Math.sin(angle), "ink", 3), words(x, 112, short(angle) + " rad")];
          }),
          said: `Angles in radians: ${angles.map(short).join(", ")}; base ${Math.round(10 ** base)}.`,
        };
      },
    },
    momentum: {
      title: "Forty steps down a valley that is 25 times as steep across as along", height: 190,
      knobs: [["mu", "Momentum", 0, 0.98, 0.01, 0.8], ["lr", "Learning rate", 0.002, 0.1, 0.002, 0.03]],
      draw({ mu, lr }) {
        const path = sums.momentum(lr, mu, 40);
        const at = ([a, b]) => [360 * (a + 3.4) / 5, 95 - 70 * b];
        const kept = path.slice(0, 1 + path.findIndex((w, k) => k === path.length - 1 || w.some((c) => Math.abs(c) > 50)));
        const rings = [0.5, 2, 4.5, 8, 12.5].map((level) => ["ellipse", { cx: at([0, 0])[0], cy: 95, class: "frame",
          rx: 72 * Math.sqrt(2 * level), ry: 70 * Math.sqrt(2 * level / 25) }]);
        const [a, b] = path[path.length - 1];
        const loss = (a * a + 25 * b * b) / 2;
        return {
          shapes: [...rings, ["polyline", { points: kept.map((w) => at(w).map((c) => c.toFixed(1)).join(",")).join(" "), class: "path" }],
            ...kept.map((w) => ["circle", { cx: at(w)[0], cy: at(w)[1], r: 2.2, class: "dot" }])],
          said: `Loss after 40 steps: ${loss < 1e9 ? loss.toPrecision(2) : "beyond a thousand million, it diverges"}, from 17.`,
        };
      },
    },
    convolution: {
      title: "Windows of a 3 × 3 kernel over 6 × 6 pixels, and the output", height: 190,
      knobs: [["stride", "Stride", 1, 3, 1, 1], ["padding", "Padding", 0, 2, 1, 0], ["window", "Window", 1, 64, 1, 1]],
      draw({ stride, padding, window }) {
        const starts = sums.windows(6, 3, stride, padding);
        const n = starts.length, here = Math.min(window, n * n) - 1, cell = 17;
        const [row, column] = [starts[Math.floor(here / n)], starts[here % n]];
        const edge = 6 + 2 * padding, left = 95 - cell * edge / 2, top = 95 - cell * edge / 2;
        const inside = (k) => k >= padding && k < padding + 6;
        const shapes = range(edge * edge).map((k) => {
          const [i, j] = [Math.floor(k / edge), k % edge];
          const read = i >= row && i < row + 3 && j >= column && j < column + 3;
          return box(left + cell * j, top + cell * i, cell, cell, (read ? "read" : inside(i) && inside(j) ? "cell" : "none"));
        });
        range(n * n).forEach((k) => shapes.push(box(272 - cell * n / 2 + cell * (k % n), 95 - cell * n / 2 + cell * Math.floor(k / n),
          cell, cell, k === here ? "read" : "cell")));
        return { shapes, most: { window: n * n }, said: `Output ${n} × ${n}: (6 + 2 · ${padding} − 3) / ${stride}, rounded down, + 1. Window ${here + 1} of ${n * n}.` };
      },
    },
    sampling: {
      title: "Sixteen tokens whose probabilities fall as a power of their rank", height: 150,
      knobs: [["temperature", "Temperature", 0.1, 3, 0.1, 1], ["topP", "Top-p", 0.05, 1, 0.05, 0.9]],
      draw({ temperature, topP }) {
        const all = sums.sampling(LETTERS, temperature, topP);
        const kept = all.filter((token) => token.kept);
        const mass = kept.reduce((a, token) => a + token.p, 0);
        return {
          shapes: all.map(({ p, kept: stays }, k) => box(4 + 22 * k, 140 - 130 * p, 17, Math.max(1, 130 * p), stays ? "read" : "none")),
          said: `${kept.length} of 16 tokens stay, with ${Math.round(100 * mass)} % of the probability; the first is drawn in `
            + `${Math.round(100 * all[0].p / mass)} % of the cases.`,
        };
      },
    },
    tile: {
      title: "Scores of 24 queries and 24 keys, causal, in tiles", height: 200,
      knobs: [["rows", "Queries in a tile", 1, 24, 1, 6], ["columns", "Keys in a tile", 1, 24, 1, 8]],
      draw({ rows, columns }) {
        const { grid, moved } = sums.tiles(24, 64, rows, columns);
        const seen = grid.filter((tile) => tile.seen);
        const held = seen.reduce((a, tile) => a + tile.rows * tile.columns, 0);
        return {
          shapes: [...grid.map((tile) => box(84 + 8 * tile.j, 4 + 8 * tile.i, 8 * tile.columns, 8 * tile.rows, tile.seen ? "cell" : "none")),
            line(84, 4, 276, 196, "faint")],
          said: `${seen.length} of ${grid.length} tiles are computed, ${held} of 576 scores; at most ${rows * columns} at once. `
            + `With 64 features, ${moved} numbers are moved forward.`,
        };
      },
    },
  };
  global.MOVABLE = { sums, figures };
  if (typeof document === "undefined") return;

  // -- the page
  const NS = "http://www.w3.org/2000/svg";
  function shape([tag, attributes, text]) {
    const made = document.createElementNS(NS, tag);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    if (text) made.textContent = text;
    return made;
  }
  function element(tag, attributes, ...inside) {
    const made = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    made.append(...inside);
    return made;
  }

  document.querySelectorAll(".movable").forEach((place, number) => {
    const figure = figures[place.dataset.figure];
    if (!figure) return;
    const values = {};
    const picture = shape(["svg", { viewBox: `0 0 360 ${figure.height}`, "aria-hidden": "true" }]);
    const said = element("output", { "aria-live": "polite" });
    const show = () => {
      const { shapes, said: sentence, most = {} } = figure.draw(values);
      for (const [name, max] of Object.entries(most)) knobs[name].limit(max);
      picture.replaceChildren(...shapes.map(shape));
      said.textContent = sentence;
    };
    const knobs = {};
    const rows = figure.knobs.map(([name, label, min, max, step, value]) => {
      values[name] = value;
      const id = `movable-${number}-${name}`;
      const now = element("span", { class: "value" }, String(value));
      const slider = element("input", { id, type: "range", min, max, step, value });
      const take = () => {
        values[name] = Number(slider.value);
        now.textContent = slider.value;
      };
      slider.addEventListener("input", () => { take(); show(); });
      knobs[name] = { limit(most) { slider.max = most; take(); } };
      return element("div", { class: "knob" }, element("label", { for: id }, label), slider, now);
    });
    place.append(element("div", { class: "moving", role: "group", "aria-label": "To move: " + figure.title },
      element("p", { class: "moving-title" }, figure.title), picture, said, ...rows));
    show();
  });
})(globalThis);
