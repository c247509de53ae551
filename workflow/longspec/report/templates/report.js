"use strict";
// The sample browser. The samples of a model and data set are read when they are asked for; texts enter as text nodes.
(() => {
  const browser = document.getElementById("browser");
  if (!browser) return;
  const cells = document.getElementById("browser-cell");
  const methods = document.getElementById("browser-method");
  const place = document.getElementById("browser-place");
  const view = document.getElementById("browser-view");
  const read = new Map();
  let number = 0;

  const element = (tag, text, kind) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  const cell = () => {
    const id = cells.value;
    if (!read.has(id)) read.set(id, JSON.parse(document.getElementById(id).textContent));
    return read.get(id);
  };

  // `other`: the output that stands beside; `timed`: whether the seconds of the two may be divided.
  const column = (name, output, other, timed) => {
    const made = element("div", undefined, "output");
    made.append(element("h4", name));
    if (!output) return made;
    const seconds = output.seconds.toLocaleString("en", { maximumFractionDigits: 2 });
    const steps = output.steps === null ? "" : ` in ${output.steps} steps`;
    let facts = `${output.tokens} tokens${steps}, ${seconds} s, ended by ${output.stop}`;
    if (other && timed && output.seconds) facts += `; speedup here ${(other.seconds / output.seconds).toFixed(2)}×`;
    if (other) {
      facts += output.parts_at === null ? "; same tokens" : `; differs from the text beside it at token ${output.parts_at}`;
    }
    made.append(element("p", facts, "facts"));
    const text = element("pre");
    text.tabIndex = 0;
    text.setAttribute("role", "region");
    text.setAttribute("aria-label", `output of ${name}`);
    output.parts.forEach((part, n) => {
      if (part) text.append(n % 2 ? element("mark", part) : document.createTextNode(part));
    });
    made.append(text);
    return made;
  };

  const show = () => {
    const { methods: names, beside, timed, samples } = cell();
    number = Math.min(Math.max(number, 0), samples.length - 1);
    view.replaceChildren();
    place.textContent = samples.length ? `Sample ${number + 1} of ${samples.length}` : "No samples";
    if (!samples.length) return;
    const sample = samples[number];
    const repeat = sample.repeat ? `, repeat ${sample.repeat}` : "";
    const prompt = element("details");
    prompt.append(element("summary", `Prompt ${sample.id}${repeat}`), element("pre", sample.prompt));
    prompt.open = browser.dataset.prompt === "open";
    prompt.addEventListener("toggle", () => { browser.dataset.prompt = prompt.open ? "open" : ""; });
    const pair = element("div", undefined, "outputs");
    const chosen = Math.max(names.indexOf(methods.value), 0);
    const other = beside[chosen];
    pair.append(column(names[other], sample.outputs[other], null, false));
    if (chosen !== other) {
      pair.append(column(names[chosen], sample.outputs[chosen], sample.outputs[other], timed[chosen]));
    }
    view.append(prompt, pair);
  };

  const move = (by) => { number += by; show(); };
  document.getElementById("browser-back").addEventListener("click", () => move(-1));
  document.getElementById("browser-on").addEventListener("click", () => move(1));
  cells.addEventListener("change", () => { number = 0; show(); });
  methods.addEventListener("change", show);
  browser.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT" || event.altKey || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    if (Number.isFinite(steps[event.key])) move(steps[event.key]);
    else { number = steps[event.key] < 0 ? 0 : cell().samples.length - 1; show(); }
  });
  browser.hidden = false;
  show();
})();
