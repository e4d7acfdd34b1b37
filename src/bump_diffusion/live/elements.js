/* The page's elements: networks at which a reader points, and exchanges between two requests.

   What stands in them (texts, controls) is in page/templates/live*.html.j2; this makes it move. */
"use strict";

const PAUSE = 700;  // milliseconds at least for which training, played, shows a checkpoint

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/* Draw the `index`-th of several square images with values from -1 to 1. */
function paint(canvas, values, index = 0) {
  const N = canvas.width, pixels = N * N, context = canvas.getContext("2d");
  const image = context.createImageData(N, N);
  for (let i = 0; i < pixels; i++) {
    const grey = (values[index * pixels + i] + 1) * 127.5;  // the array clamps
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function addCanvas(parent, N) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = N;
  parent.prepend(canvas);
  return canvas;
}

function placeMarker(marker, [x, y], N) {
  marker.style.left = `${((x + 0.5) / N) * 100}%`;
  marker.style.top = `${((y + 0.5) / N) * 100}%`;
}

/* An image at which a position is requested by pointer, finger or arrow keys. */
class Pad {
  constructor(element, N, onRequest) {
    Object.assign(this, { element, N, onRequest });
    this.canvas = addCanvas(element, N);
    this.marker = element.querySelector(".live-marker");
    const point = ({ clientX, clientY }) => {
      const { left, top, width, height } = element.getBoundingClientRect();
      this.request([((clientX - left) / width) * N - 0.5, ((clientY - top) / height) * N - 0.5]);
    };
    // A finger drags the mark, or taps; where it begins elsewhere it may be scrolling the page.
    element.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" && event.target !== this.marker) return;
      element.setPointerCapture(event.pointerId);
      point(event);
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) point(event);
    });
    element.addEventListener("click", (event) => {
      if (event.pointerType !== "mouse") point(event);  // which has requested when it went down
    });
    element.addEventListener("keydown", (event) => {
      const [x, y] = this.label, [right, down] = ARROWS[event.key] ?? [0, 0];
      const step = event.shiftKey ? 2 : 0.5;
      const jumps = { Home: [0, y], End: [N, y], PageUp: [x, 0], PageDown: [x, N] };
      if (!(event.key in ARROWS || event.key in jumps)) return;
      event.preventDefault();
      this.request(jumps[event.key] ?? [x + step * right, y + step * down]);
    });
  }

  request(label) {
    this.onRequest(label.map((value) => Math.max(0, Math.min(this.N - 1, value))));
  }

  show(label) {
    this.label = label;
    placeMarker(this.marker, label, this.N);
    const [x, y] = label.map((value) => value.toFixed(1));
    this.element.setAttribute("aria-valuenow", x);
    this.element.setAttribute("aria-valuetext", `x ${x}, y ${y} of ${this.N} pixels`);
  }
}

/* Outline the labels (rows of booleans) that were held out, around the middles of pixels. */
function outline(svg, heldOut) {
  const N = heldOut.length, edges = [], at = (x, y) => heldOut[y]?.[x] ?? false;
  for (let y = 0; y <= N; y++) {
    for (let x = 0; x <= N; x++) {
      if (at(x, y) !== at(x - 1, y)) edges.push(`M${x} ${y}v1`);
      if (at(x, y) !== at(x, y - 1)) edges.push(`M${x} ${y}h1`);
    }
  }
  for (const path of svg.children) path.setAttribute("d", edges.join(""));
}

/* A map of points, one of which is marked: where a network holds each label. */
class PointMap {
  constructor(element, { labels, colours }, N) {
    Object.assign(this, { labels, N });
    const svg = element.querySelector(".live-map");
    const circle = () => svg.appendChild(document.createElementNS(svg.namespaceURI, "circle"));
    this.points = colours.map((colour) => {
      const point = circle();
      point.setAttribute("r", 4);
      point.setAttribute("fill", colour);
      return point;
    });
    this.ring = circle();
    this.ring.setAttribute("class", "live-ring");
    this.ring.setAttribute("r", 9);
    this.marker = element.querySelector(".live-colours .live-marker");
    this.caption = element.querySelector(".live-caption");
    this.sources = [...element.querySelectorAll(".live-source")];
  }

  show(maps, label) {
    const { points, caption } = maps[this.sources.find((source) => source.checked).value];
    const distances = this.labels.map(([x, y]) => Math.hypot(x - label[0], y - label[1]));
    const nearest = distances.indexOf(Math.min(...distances));
    const place = (circle, i) => {
      circle.style.transform = `translate(${points[2 * i]}px, ${points[2 * i + 1]}px)`;
    };
    this.points.forEach(place);
    place(this.ring, nearest);
    placeMarker(this.marker, label, this.N);
    this.caption.textContent = caption;
  }
}

/* One network's image, with its film strip and, where the caller gave them, its map and shares. */
class View {
  constructor(element, config, onRequest) {
    this.config = config;
    this.pad = new Pad(element.querySelector(".live-pad"), config.N, onRequest);
    const strip = element.querySelector(".live-strip");
    this.reading = element.querySelector(".live-reading");
    this.strip = Array.from({ length: config.frames }, () => addCanvas(strip, config.N)).reverse();
    this.map = config.map && new PointMap(element, config.map, config.N);
    this.shares = element.querySelector(".live-shares");
  }

  describe(checkpoint, label) {
    this.pad.show(label);
    this.map?.show(checkpoint.maps, label);
    for (const [name, share] of Object.entries(this.shares ? checkpoint.shares : {})) {
      this.shares.querySelector(`.live-bar [data-name="${name}"]`).style.flexGrow = share;
      const percent = this.shares.querySelector(`dd[data-name="${name}"]`);
      percent.textContent = `${Math.round(100 * share)} %`;
    }
  }

  /* Frame `i` of `steps` + 1 goes where the strip has room for it, more of the late ones, as the
     first half of them look like noise; the last is the image, of `label`. */
  paint({ x, last }, i, label) {
    const { steps, N, sigma } = this.config;
    this.strip.forEach((canvas, k) => {
      const left = 1 - k / (this.strip.length - 1);
      if (Math.round(steps * (1 - left ** 2)) === i) paint(canvas, x);
    });
    if (!last) return;
    paint(this.pad.canvas, x);
    this.reading.textContent = tellBump(findBumps(x, N, sigma), label);
  }
}

/* What is common to both elements: requests that come faster than they are answered. */
class Live {
  constructor(root, config, engine) {
    Object.assign(this, { root, config, engine, seed: 1 });
    root.querySelector(".live-noise").addEventListener("click", () => {
      this.seed++;
      this.update();
    });
  }

  load(weights) {
    return this.engine.load(weights, `${this.config.assets}/${weights}.js`);
  }

  /* A sample is finished before the next begins, so that something is shown however slow it is;
     of the requests that came meanwhile only the last is answered. */
  async update() {
    this.wanted = true;
    this.describe();
    if (this.busy) return;
    this.busy = true;
    this.root.classList.add("live-busy");
    try {
      while (this.wanted) {
        this.wanted = false;
        await this.draw();
        this.root.classList.add("live-runs");
      }
    } catch {
      this.root.classList.remove("live-runs");  // the still image is shown again
    }
    this.busy = false;
    this.root.classList.remove("live-busy");
  }
}

/* Networks: one of several by choice, or all of them side by side. */
class Networks extends Live {
  constructor(root, config, engine) {
    super(root, config, engine);
    this.label = config.label;
    const views = [...root.querySelectorAll(".live-view")];
    this.views = views.map((element) => new View(element, config, (label) => {
      this.label = label;
      this.update();
    }));
    this.slider = root.querySelector(".live-training");
    this.choices = [...root.querySelectorAll(".live-choice")];
    for (const svg of root.querySelectorAll(".live-held-out")) outline(svg, config.heldOut);
    for (const control of [this.slider, ...this.choices]) {
      control.addEventListener("input", () => {
        this.setPlaying(false);
        this.update();
      });
    }
    for (const source of root.querySelectorAll(".live-source")) {
      source.addEventListener("input", () => this.describe());
    }
    this.play = root.querySelector(".live-play");
    this.play.addEventListener("click", () => this.playTraining());
    this.update();
  }

  setPlaying(isPlaying) {
    this.isPlaying = isPlaying;
    this.play.textContent = isPlaying ? "Stop" : "Play training";
  }

  /* Go through all checkpoints, each of which is drawn before the next one is shown. */
  async playTraining() {
    this.setPlaying(!this.isPlaying);
    for (let i = 0; i <= this.slider.max && this.isPlaying; i++) {
      this.slider.value = i;
      await Promise.all([this.update(), new Promise((resolve) => setTimeout(resolve, PAUSE))]);
    }
    this.setPlaying(false);
  }

  /* The networks in view, each at the checkpoint that the slider is at, or at its last. */
  shown() {
    const chosen = this.choices.findIndex((choice) => choice.checked);
    const networks = chosen < 0 ? this.config.networks : [this.config.networks[chosen]];
    return networks.map(({ checkpoints }) => checkpoints[this.slider.value] || checkpoints.at(-1));
  }

  describe() {
    const checkpoints = this.shown();
    const titles = [...new Set(checkpoints.map((checkpoint) => checkpoint.title))];
    const bare = (title) => title.replace(/ steps$/, "");  // the unit once, to fit a phone's line
    const title = [...titles.slice(0, -1).map(bare), titles.at(-1)].join(" / ");
    this.root.querySelector(".live-title").textContent = title;
    this.slider.setAttribute("aria-valuetext", title);
    const [column, row] = this.label.map(Math.round), { heldOut } = this.config;
    this.root.classList.toggle("live-untrained", heldOut && heldOut[row][column]);
    checkpoints.forEach((checkpoint, i) => this.views[i].describe(checkpoint, this.label));
  }

  async draw() {
    const { label, seed, config } = this;
    for (const [i, { weights }] of this.shown().entries()) {
      await this.load(weights);
      let frames = 0;
      const show = (frame) => this.views[i].paint(frame, frames++, label);
      await this.engine.sample({ weights, labels: [label], seed, steps: config.steps }, show);
    }
  }
}

/* Two requests, drawn as they are and with something exchanged between them. */
class Exchange extends Live {
  constructor(root, config, engine) {
    super(root, config, engine);
    this.labels = config.labels;
    const pads = [...root.querySelectorAll(".live-pad")];
    this.pads = pads.map((element, i) => new Pad(element, config.N, (label) => {
      this.labels = this.labels.map((other, k) => (k === i ? label : other));
      this.update();
    }));
    this.results = [...root.querySelectorAll(".live-result")];
    this.canvases = this.results.map((element) => addCanvas(element, config.N));
    this.readings = [...root.querySelectorAll(".live-reading")];
    this.kind = root.querySelector(".live-kind");
    this.layer = root.querySelector(".live-layer");
    this.kind.addEventListener("input", () => this.update());
    this.layer.addEventListener("input", () => this.update());
    this.update();
  }

  describe() {
    const layers = this.config.layers[this.kind.value];
    for (const option of this.layer.options) {
      option.disabled = !layers.includes(option.value);
      option.text = option.dataset.name + (option.disabled ? " (gets no label)" : "");
    }
    if (!layers.includes(this.layer.value)) [this.layer.value] = layers;
    this.pads.forEach((pad, i) => pad.show(this.labels[i]));
    for (const result of this.results) {
      const markers = result.querySelectorAll(".live-marker");
      markers.forEach((marker, i) => placeMarker(marker, this.labels[i], this.config.N));
    }
  }

  async draw() {
    const { labels, seed, config: { weights, steps, N, sigma } } = this;
    const intervention = { kind: this.kind.value, layer: this.layer.value };
    await this.load(weights);
    const request = JSON.stringify([labels, seed]);
    if (request !== this.drawn) {  // another layer does not change what is drawn without a change
      const asked = await this.engine.sample({ weights, labels, seed, steps });
      this.pads.forEach((pad, i) => paint(pad.canvas, asked, i));
      this.drawn = request;
    }
    const changed = await this.engine.sample({ weights, labels, seed, steps, intervention });
    this.canvases.forEach((canvas, i) => paint(canvas, changed, i));
    this.readings.forEach((reading, i) => {
      const bumps = findBumps(changed, N, sigma, i);
      reading.textContent = tellPlace(bumps, labels[i], labels[1 - i]);
    });
  }
}

/* Bring the page's elements to life, by one engine. */
function startLive(wasm) {
  const elements = document.querySelectorAll(".live"), kinds = { Networks, Exchange };
  const engine = elements.length && new BumpEngine(wasm);
  for (const root of elements) {
    const config = JSON.parse(root.querySelector(".live-data").textContent);
    new kinds[config.element](root, config, engine);
  }
}
