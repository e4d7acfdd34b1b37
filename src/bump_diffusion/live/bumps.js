/* The bumps in an image, and what a page says of them. */
"use strict";

const LEAST_HEIGHT = 0.5;  // of a fitted bump; these three are as in metrics/bumps.py
const LEAST_CONTRAST = 0.25;
const MOST_MISFIT = 0.5;
const TOLERANCE = 1;  // pixels in x and in y within which a bump is right: metrics/outcomes.py
const NEAR = 1.5;  // pixels within which an exchange puts a bump where it was requested

const AROUND = [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((dx) => [dx, dy]));

/* The middles of the bumps of spread `sigma` in the `index`-th image: Gaussians that fit well
   around pixels where they explain more than around the neighbours. */
function findBumps(values, N, sigma, index = 0) {
  const image = values.subarray(index * N * N, (index + 1) * N * N);
  const heights = image.map((value) => (1 - value) / 2), reach = Math.max(1, Math.ceil(1.5 * sigma));
  const fit = (column, row, x = column, y = row) => {
    let seen = 0, norm = 0, energy = 1e-12;
    for (let j = Math.max(0, row - reach); j <= Math.min(N - 1, row + reach); j++) {
      for (let i = Math.max(0, column - reach); i <= Math.min(N - 1, column + reach); i++) {
        const bump = Math.exp(-((i - x) ** 2 + (j - y) ** 2) / (2 * sigma ** 2));
        seen += bump * heights[j * N + i];
        norm += bump ** 2;
        energy += heights[j * N + i] ** 2;
      }
    }
    const explained = Math.max(0, seen) ** 2 / norm;
    return { x, y, height: seen / norm, explained, misfit: 1 - explained / energy };
  };
  const improve = (column, row, best) => {
    for (let step = 0.5; step > 0.01; step /= 2) {
      for (const [dx, dy] of AROUND) {
        const next = fit(column, row, best.x + step * dx, best.y + step * dy);
        if (next.explained > best.explained) best = next;
      }
    }
    return best;
  };
  const pixels = Array.from(heights, (_, i) => fit(i % N, Math.floor(i / N)));
  const inside = (i) => i >= 0 && i < N;
  const highest = pixels.filter(({ x, y, explained }) => AROUND.every(([dx, dy]) =>
    !inside(x + dx) || !inside(y + dy) || explained >= pixels[(y + dy) * N + x + dx].explained));
  const apart = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) >= Math.max(1, 1.5 * sigma);
  return highest
    .filter(({ x, y }) => heights[y * N + x] >= LEAST_CONTRAST)
    .map((pixel) => improve(pixel.x, pixel.y, pixel))
    .filter(({ height, misfit }) => height >= LEAST_HEIGHT && misfit <= MOST_MISFIT)
    .sort((a, b) => b.height - a.height)
    .reduce((kept, bump) => (kept.every((other) => apart(bump, other)) ? [...kept, bump] : kept), [])
    .map(({ x, y }) => [x, y]);
}

function countBumps({ length }) {
  return `${["no", "one", "two", "three"][length] ?? length} bump${length > 1 ? "s" : ""}`;
}

/* Say how far an image's bump is from its request, or how many bumps it shows instead of one. */
function tellBump(bumps, label) {
  if (bumps.length !== 1) return countBumps(bumps);
  const off = [0, 1].map((axis) => Math.abs(bumps[0][axis] - label[axis]));
  const verdict = Math.max(...off) <= TOLERANCE ? "right" : "misplaced";
  return `${Math.hypot(...off).toFixed(1)} px off: ${verdict}`;
}

/* Say where the bump of one request is: at its own place, at the other's, or axis by axis. */
function tellPlace(bumps, own, other) {
  if (bumps.length !== 1) return countBumps(bumps);
  const [x, y] = [0, 1].map((axis) => {
    const [kept, taken] = [own, other].map((label) => Math.abs(bumps[0][axis] - label[axis]));
    if (Math.min(kept, taken) > NEAR) return kept < taken ? "moves a little" : "moves most of the way";
    return kept < taken ? "stays" : "goes along";
  });
  if (x === y && x === "stays") return "its bump stays";
  if (x === y && x === "goes along") return "its bump goes to the other's place";
  return `x ${x}, y ${y}`;
}
