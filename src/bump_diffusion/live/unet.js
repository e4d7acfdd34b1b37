/* The networks of this book, run in the page: unet.c, compiled, behind a sampler.

   Nothing is fetched: WebAssembly and weights come in scripts, as a page that is opened from a
   folder may load no other files. */
"use strict";

/* All that computes. The function uses nothing from outside, as a worker is made from its text. */
function bumpNetworks() {
  const LAYERS = ["layer1", "layer2", "layer3", "layer4", "bottleneck", "up3", "up2", "up1"];
  const BLOCKS = ["layer2", "layer3", "layer4", "up3", "up2", "up1"];
  const FEATURES = 128;  // of a timestep's encoding, and of a label's

  function decodeBase64(text) {
    const binary = atob(text), bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  /* A tensor as unet.c describes it: a byte, then numbers; returns also where the next begins. */
  function readTensor(bytes, at, rows, columns) {
    const data = new DataView(bytes.buffer, bytes.byteOffset + at + 1), n = rows * columns;
    const inBytes = bytes[at] === 1, values = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      const scale = inBytes && data.getFloat32(4 * Math.floor(i / columns), true);
      values[i] = inBytes ? scale * data.getInt8(4 * rows + i) : data.getFloat32(4 * i, true);
    }
    return [values, at + 1 + (inBytes ? 4 * rows + n : 4 * n)];
  }

  function encodePosition(position, out) {
    const half = out.length / 2;
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * Math.fround(10000 ** -(i / half)));
      out[i] = Math.sin(angle);
      out[half + i] = Math.cos(angle);
    }
  }

  /* How labels enter: models/conditioning.py. Each maps a label to `out`, 128 numbers. */
  const CONDITIONINGS = {
    sinusoidal: ({ labelScale }) => ([x, y], out) => {
      encodePosition(x * labelScale, out.subarray(0, FEATURES / 2));
      encodePosition(y * labelScale, out.subarray(FEATURES / 2));
    },
    scalar: ({ N, conditioning }) => {
      const [weights, next] = readTensor(conditioning, 0, FEATURES, 2);
      const [bias] = readTensor(conditioning, next, FEATURES, 1);
      return ([x, y], out) => {
        for (let i = 0; i < FEATURES; i++) {
          out[i] = (weights[2 * i] * x + weights[2 * i + 1] * y) / N + bias[i];
        }
      };
    },
    table: ({ grid, conditioning }) => {
      const [columns, rows] = grid.map(({ count }) => count);
      const [table] = readTensor(conditioning, 0, columns * rows, FEATURES);
      const nearest = (v, { spacing, count }) =>
        Math.max(0, Math.min(count - 1, Math.ceil(v / spacing - 0.5)));
      return (label, out) => {
        const [column, row] = label.map((v, axis) => nearest(v, grid[axis]));
        const at = (column * rows + row) * FEATURES;
        out.set(table.subarray(at, at + FEATURES));
      };
    },
  };

  /* What is drawn beside an image, along each axis, by the distance to the label: models/biases.py. */
  const RENDERINGS = {
    lines: () => (distance) => Math.max(0, 1 - distance),
    profiles: ({ sigma }) => (distance) => Math.exp(-(distance ** 2) / (2 * sigma ** 2)),
  };

  /* The share of variance that is signal, at each timestep: training/diffusion.py. */
  function signalShares({ timesteps, beta: [first, last] }) {
    const beta = (t) => first + ((last - first) * t) / (timesteps - 1);
    let share = 1;
    return Float32Array.from({ length: timesteps }, (_, t) => (share *= 1 - beta(t)));
  }

  function samplerTimesteps(timesteps, steps) {
    const spacing = steps > 1 ? (timesteps - 1) / (steps - 1) : 0;
    return Array.from({ length: steps }, (_, i) => {
      const t = timesteps - 1 - i * spacing, below = Math.floor(t);
      if (t - below !== 0.5) return Math.round(t);
      return below + (below % 2);  // torch rounds halves to even numbers
    });
  }

  /* Standard normal numbers of a seed: Marsaglia's xorshift, then Box and Muller. */
  function normals(seed) {
    let state = Math.imul(seed + 1, 0x9e3779b1) || 1;
    const uniform = () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return ((state >>> 0) + 0.5) / 2 ** 32;
    };
    for (let i = 0; i < 8; i++) uniform();  // seeds that are near each other begin alike
    const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    return (n) => Float32Array.from({ length: n }, normal);
  }

  /* Networks of one shape, one set of weights at a time, that see `count` images at once. */
  class Network {
    static async create(module, shape, count) {
      return new Network((await WebAssembly.instantiate(module)).exports, shape, count);
    }

    constructor(wasm, { width, channels, features, height, N }, count) {
      Object.assign(this, { wasm, count, channels, N, pixels: height * N });
      wasm.setup(width, channels - 1, features, height, N, count);
    }

    /* The memory moves when it grows, so it is looked up anew each time. */
    floats(at, n) {
      return new Float32Array(this.wasm.memory.buffer, at, n);
    }

    load(weights) {
      if (this.weights === weights) return;
      const at = this.wasm.staging(weights.network.length);
      new Uint8Array(this.wasm.memory.buffer, at).set(weights.network);
      this.wasm.load();
      this.weights = weights;
      const injected = weights.features > FEATURES;
      this.embed = injected ? CONDITIONINGS[weights.scheme](weights) : () => {};
      this.drawn = RENDERINGS[weights.rendering]?.(weights);
    }

    /* Images (count, height, N, channels) that hold nothing but what is drawn beside them. */
    drawBeside(labels) {
      const { channels, N, pixels } = this;
      const images = new Float32Array(labels.length * pixels * channels);
      if (!this.drawn) return images;
      labels.forEach(([x, y], image) => {
        for (let p = 0; p < pixels; p++) {
          const at = (image * pixels + p) * channels;
          images[at + 1] = this.drawn(Math.abs((p % N) - x));
          images[at + 2] = this.drawn(Math.abs(Math.floor(p / N) - y));
        }
      });
      return images;
    }

    /* The noise in `x`, for labels embedded as `embedded[block][image]`, and `beside` of
       drawBeside; `exchanged` is a layer. */
    predict(x, t, embedded, beside, exchanged) {
      const { wasm, count, pixels, channels } = this, size = 2 * FEATURES;
      const images = this.floats(wasm.images(), count * pixels * channels);
      images.set(beside);
      for (let p = 0; p < x.length; p++) images[p * channels] = x[p];
      const into = this.floats(wasm.embeddings(), BLOCKS.length * count * size);
      const time = new Float32Array(FEATURES);
      encodePosition(t, time);
      embedded.flat().forEach((label, i) => {
        into.set(time, i * size);
        into.set(label, i * size + FEATURES);
      });
      wasm.predict(LAYERS.indexOf(exchanged));
      return this.floats(wasm.noise(), count * pixels);
    }

    /* What each block is given of the labels, for an intervention of metrics/interventions.py. */
    embedLabels(labels, { kind, layer }) {
      const each = labels.map((label) => {
        const out = new Float32Array(FEATURES);
        this.embed(label, out);
        return out;
      });
      const other = each.map((_, i) => each[(i + each.length / 2) % each.length]);
      const mean = each.map(() => this.weights.mean);
      return BLOCKS.map((block) => {
        if (kind === "label here alone") return block === layer ? each : mean;
        if (block !== layer) return each;
        return { "other label": other, "no label": mean }[kind] ?? each;
      });
    }

    /* Denoise `x` by DDIM in `steps` steps, yielding {t, x, last} before the first and after each:
       training/diffusion.py's `sample`. Without noise of its own an image moves smoothly with its
       request, and a few steps are enough. */
    *sample({ labels, x, steps, intervention = {} }) {
      const { weights } = this, shares = signalShares(weights);
      const exchanged = intervention.kind === "other features" ? intervention.layer : null;
      const embedded = this.embedLabels(labels, intervention), beside = this.drawBeside(labels);
      const timesteps = samplerTimesteps(weights.timesteps, steps);
      x = Float32Array.from(x);
      yield { t: timesteps[0], x: x.slice(), last: false };
      for (let i = 0; i < steps; i++) {
        const last = i === steps - 1;
        const now = shares[timesteps[i]], next = last ? 1 : shares[timesteps[i + 1]];
        const noise = this.predict(x, timesteps[i], embedded, beside, exchanged);
        for (let p = 0; p < x.length; p++) {
          let image = (x[p] - Math.sqrt(1 - now) * noise[p]) / Math.sqrt(now);
          if (weights.clip) image = Math.max(-1, Math.min(1, image));
          x[p] = Math.sqrt(next) * image + Math.sqrt(1 - next) * noise[p];
        }
        yield { t: last ? 0 : timesteps[i + 1], x: x.slice(), last };
      }
    }
  }

  /* Answers messages, in a worker or in the page. Networks are kept by their shape and number of
     images, weights by their name. `pause` may let the page draw, between two steps. */
  function serve(send, pause) {
    const networks = new Map(), known = new Map();
    let wasm, compiled;
    async function networkFor(weights, count) {
      compiled ??= WebAssembly.compile(wasm);  // refused by a browser without SIMD
      const { width, channels, features, height, N } = weights;
      const shape = [width, channels, features, height, N, count].join();
      if (!networks.has(shape)) {
        networks.set(shape, Network.create(await compiled, weights, count));
      }
      const network = await networks.get(shape);
      network.load(weights);
      return network;
    }
    async function answer(message) {
      if (message.wasm) wasm = decodeBase64(message.wasm);
      if (message.weights) {
        const { name, ...weights } = message.weights;
        for (const part of ["network", "conditioning"]) weights[part] = decodeBase64(weights[part]);
        weights.mean = Float32Array.from(weights.mean);
        known.set(name, weights);
      }
      if (!message.sample) return;
      const { id, weights, labels, seed, noise, ...settings } = message.sample;
      try {
        const network = await networkFor(known.get(weights), labels.length);
        // Every image begins with the same noise, so that only the requests differ.
        const same = Array(labels.length).fill([...normals(seed)(network.pixels)]).flat();
        for (const frame of network.sample({ labels, x: noise ?? same, ...settings })) {
          send({ id, ...frame });
          if (pause && !frame.last) await pause();
        }
      } catch (error) {
        send({ id, error: String(error) });
      }
    }
    let last = Promise.resolve();  // one message is answered after the other
    return (message) => (last = last.then(() => answer(message)));
  }

  return { serve };
}

/* The page's side: a worker, or slices of the page's own time where a worker is refused. */
class BumpEngine {
  constructor(wasm) {
    this.pending = new Map();
    this.scripts = new Map();
    this.ready = this.start().then((post) => {
      post({ wasm });
      return post;
    });
  }

  start() {
    const source = `"use strict"; ${bumpNetworks}
      const answer = bumpNetworks().serve(postMessage);
      onmessage = ({ data }) => answer(data);
      postMessage({});`;
    const local = () => {
      let paused = performance.now();
      const pause = async () => {
        if (performance.now() - paused < 12) return;  // less than a frame of the screen
        await new Promise((resume) => setTimeout(resume));
        paused = performance.now();
      };
      return bumpNetworks().serve((data) => this.receive(data), pause);
    };
    return new Promise((resolve) => {
      try {
        const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
        const worker = new Worker(url);
        worker.onerror = () => resolve(local());
        worker.onmessage = ({ data }) => {  // the first says that it lives
          worker.onmessage = ({ data }) => this.receive(data);
          resolve((message) => worker.postMessage(message));
        };
      } catch {
        resolve(local());
      }
    });
  }

  receive({ id, error, ...frame }) {
    const { onFrame, resolve, reject } = this.pending.get(id);
    if (!error) onFrame(frame);
    if (error || frame.last) this.pending.delete(id);
    if (error) reject(new Error(error));
    else if (frame.last) resolve(frame.x);
  }

  /* Load a script that calls bumpWeights(name, ...), once. */
  load(name, url) {
    if (!this.scripts.has(name)) {
      this.scripts.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = url;
        script.onload = resolve;
        script.onerror = () => {
          this.scripts.delete(name);  // so that it can be tried again
          reject(new Error(`${url} cannot be loaded`));
        };
        document.head.append(script);
      }).then(() => this.ready).then((post) => {
        post({ weights: { name, ...bumpWeights.given.get(name) } });
        bumpWeights.given.delete(name);
      }));
    }
    return this.scripts.get(name);
  }

  /* Sample as `Network.sample` does, by weights that are loaded; resolves to the images. */
  async sample(settings, onFrame = () => {}) {
    const post = await this.ready, id = (this.last = (this.last ?? 0) + 1);
    return new Promise((resolve, reject) => {
      this.pending.set(id, { onFrame, resolve, reject });
      post({ sample: { id, ...settings } });
    });
  }
}

/* Called by each file of weights. */
function bumpWeights(name, weights) {
  bumpWeights.given.set(name, weights);
}
bumpWeights.given = new Map();
