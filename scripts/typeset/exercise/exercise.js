// The editor of a topic, its draft in this browser, and the tests in a worker. Loaded when a reader opens an exercise.
(function () {
  "use strict";
  const PATIENCE = 6;                                     // a page's Python may take so many times a test's limit
  const SHOWN = 200000;                                   // characters of a report
  const given = {};                                       // what the scripts beside this one hand over
  const loaded = {};
  let box, folder, topic, view, dark;

  window.bookExercise = {
    python: (parts) => { given.python = parts; },
    worker: (text) => { given.worker = text; },
    topic: (facts) => { given.topic = facts; },
    open,
    text: () => view.state.doc.toString(),
    replace,
    run,
  };

  // -- loading
  function script(name) {
    loaded[name] = loaded[name] || new Promise((resolve, reject) => {
      const tag = document.createElement("script");
      tag.src = folder + "/" + name;
      tag.onload = resolve;
      tag.onerror = () => { delete loaded[name]; reject(new Error(name + " could not be loaded")); };
      document.head.append(tag);
    });
    return loaded[name];
  }
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  const NAMES = ["core.js.gz", "python.wasm.gz", "stdlib.zip.gz", "site.tar.gz"];
  let parts = null;
  async function python() {
    if (parts) return parts;
    if (!("DecompressionStream" in window)) throw new Error("this browser cannot unpack it (no DecompressionStream)");
    if (location.protocol === "file:") {
      await script("python.js");
      parts = Object.fromEntries(NAMES.map((name) => [name, bytesOf(given.python[name])]));
      given.python = null;
    } else {
      let sum = 0;
      const found = await Promise.all(NAMES.map((name) => fetched(name, (more) => {
        sum += more;
        say("loading Python: " + (sum / 1e6).toFixed(1) + " MB");
      })));
      parts = Object.fromEntries(NAMES.map((name, k) => [name, found[k]]));
    }
    return parts;
  }
  async function fetched(name, count) {
    const answer = await fetch(folder + "/" + name);
    if (!answer.ok) throw new Error(name + " could not be loaded (" + answer.status + ")");
    const reader = answer.body.getReader();
    const pieces = [];
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      pieces.push(step.value);
      count(step.value.length);
    }
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  }

  // -- the panel
  const make = (tag, values, ...children) => {
    const node = Object.assign(document.createElement(tag), values);
    node.append(...children);
    return node;
  };
  const button = (text, act, more) => make("button", { type: "button", textContent: text, onclick: act, ...more });
  const ui = {};

  async function open(section) {
    box = section;
    folder = box.dataset.assets;
    try {
      await Promise.all([script("codemirror.js"), script("worker.js"), script(box.dataset.package + ".js")]);
    } catch (error) {
      box.querySelector("span").textContent = "The exercise could not be opened: " + error.message + ".";
      return;
    }
    topic = given.topic;
    const file = make("input", { type: "file", accept: ".py,text/x-python", hidden: true, onchange: readFile });
    ui.run = button("Run the tests", run, { className: "exercise-run", title: "Ctrl+Enter" });
    ui.stop = button("Stop", stop, { disabled: true });
    ui.place = make("div", { className: "exercise-editor" });
    ui.status = make("p", { className: "exercise-status" });
    ui.status.setAttribute("role", "status");
    ui.bar = make("progress", { hidden: true, max: 1, value: 0 });
    ui.bar.setAttribute("aria-label", "Tests that have run");
    ui.report = make("pre", { className: "exercise-report", hidden: true, tabIndex: 0 });
    ui.report.setAttribute("role", "region");
    ui.report.setAttribute("aria-label", "Report of the tests");
    ui.kept = make("p", { className: "exercise-kept" });
    box.replaceChildren(
      make("div", { className: "exercise-bar" }, ui.run, ui.stop, make("span", { className: "exercise-gap" }),
        button("Save as file", saveFile), button("Open a file", () => file.click()), button("Begin again", begin), file),
      ui.place,
      make("p", { className: "exercise-keys" }, "Ctrl+Enter runs the tests; Esc, then Tab leaves the editor."),
      ui.kept, make("div", { className: "exercise-state" }, ui.status, ui.bar), ui.report);
    edit();
    follow();
    fresh().catch(failed);
    view.focus();
  }

  // -- the editor
  function edit() {
    const { EditorState, EditorView, keymap, ...c } = window.CodeMirror;
    dark = new c.Compartment();
    view = new EditorView({
      parent: ui.place,
      state: EditorState.create({
        doc: draft(),
        extensions: [
          c.lineNumbers(), c.highlightSpecialChars(), c.history(), c.drawSelection(), c.indentUnit.of("    "),
          EditorState.tabSize.of(4), c.indentOnInput(), c.bracketMatching(), c.python(),
          c.syntaxHighlighting(c.classHighlighter), c.highlightActiveLine(),
          keymap.of([{ key: "Ctrl-Enter", mac: "Cmd-Enter", run: () => { run(); return true; } },
            { key: "Escape", run: () => { view.setTabFocusMode(true); return false; } },    // until something is written
            c.indentWithTab, ...c.defaultKeymap, ...c.historyKeymap]),
          EditorView.contentAttributes.of({ "aria-label": "Your version of topic " + topic.topic + ", Python" }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) later();
            if (update.docChanged || (update.focusChanged && !view.hasFocus)) view.setTabFocusMode(false);
          }),
          dark.of(EditorView.theme({}, { dark: isDark() })),
        ],
      }),
    });
    new MutationObserver(darken).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", darken);
  }
  const isDark = () => (document.documentElement.dataset.theme
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function darken() {
    view.dispatch({ effects: dark.reconfigure(window.CodeMirror.EditorView.theme({}, { dark: isDark() })) });
  }
  function replace(text) {                                // as one step that undo takes back
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
  }

  // -- the draft: kept in this browser, never thrown away
  const key = () => "book-exercise-" + topic.package;
  let written = null;
  let timer = 0;
  function stored(name) { try { return localStorage.getItem(name); } catch (_) { return null; } }
  function store(name, text) {
    try { localStorage.setItem(name, text); return true; } catch (_) { return false; }
  }
  function draft() {
    written = stored(key());
    return written === null ? topic.stub : written;
  }
  function later() {
    clearTimeout(timer);
    timer = setTimeout(keep, 400);
  }
  function keep() {
    clearTimeout(timer);
    const text = view.state.doc.toString();
    const there = stored(key());
    if (text === written || (written === null && text === topic.stub)) return;
    if (there !== null && there !== written && there !== text) putAside(there, "Another window had changed this draft.");
    if (store(key(), text)) written = text;
    else ui.kept.textContent = "This browser keeps no drafts for this page: save your version as a file.";
  }
  function putAside(text, why) {
    const told = store(key() + "-before", text) ? " What was there is kept:" : "";
    ui.kept.replaceChildren(why + told + " ", button("put it back", () => { replace(text); ui.kept.replaceChildren(); }));
  }
  function follow() {
    addEventListener("pagehide", keep);
    document.addEventListener("visibilitychange", () => { if (document.hidden) keep(); });
  }
  function begin() {
    const now = view.state.doc.toString();
    if (now === topic.stub) return;
    putAside(now, "The stub is back.");
    replace(topic.stub);
  }
  function saveFile() {
    const link = make("a", { download: topic.package + ".py",
      href: URL.createObjectURL(new Blob([view.state.doc.toString()], { type: "text/x-python" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    ui.kept.textContent = topic.package + ".py belongs into the folder workspace/ of the book.";
  }
  async function readFile(event) {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    const text = (await file.text()).replace(/\r\n?/g, "\n");
    putAside(view.state.doc.toString(), file.name + " is read.");
    replace(text);
  }

  // -- Python: a new worker for each run, started ahead
  let worker = null;
  let isReady = null;
  let running = null;                                     // { entries, since, limit, clock }
  async function fresh() {
    if (worker) worker.terminate();
    worker = null;
    isReady = (async () => {
      say("loading Python");
      const own = await python();
      const made = new Worker(URL.createObjectURL(new Blob([given.worker], { type: "text/javascript" })));
      worker = made;
      return new Promise((resolve, reject) => {
        made.onmessage = ({ data: { kind, what } }) => {
          if (kind === "stage") say(what);
          else if (kind === "ready") { if (!running) say("Python is ready"); resolve(made); }
          else if (kind === "error") { reject(new Error(what)); ended(null, what); }
          else if (kind === "entry") heard(what);
          else if (kind === "report") ended(what);
        };
        made.onerror = (event) => { reject(new Error(event.message)); ended(null, event.message); };
        made.postMessage({ start: { parts: own, archive: bytesOf(topic.archive) } });
      });
    })();
    return isReady;
  }

  async function run() {
    if (running) return;
    keep();
    running = { entries: [], text: view.state.doc.toString(), done: 0, failed: 0, of: 0, clock: 0 };
    const mine = running;
    ui.run.disabled = true;
    ui.stop.disabled = false;
    ui.bar.hidden = false;
    ui.bar.removeAttribute("value");
    try {
      const ready = await isReady.catch(fresh);
      if (running !== mine) return;
      say("the tests are being collected");
      watch(60);
      ready.postMessage({ run: mine.text });
    } catch (error) {
      if (running === mine) ended(null, error.message);
    }
  }

  function watch(seconds) {
    clearTimeout(running.clock);
    running.clock = setTimeout(() => cut(), PATIENCE * seconds * 1000);
  }

  // What the tests tell while they run: the entries that the terminal's parent process reads as well.
  function heard(entry) {
    if (!running) return;
    running.entries.push(entry);
    if (entry.collected) running.of = entry.collected.length;
    if (entry.collected) say("0 of " + running.of + " tests");
    if (entry.start !== undefined) watch(entry.limit || topic.limit);
    if (entry.test) {
      running.done += 1;
      running.failed += entry.test.outcome === "failed";
      ui.bar.value = running.of ? running.done / running.of : 0;
      say(running.done + " of " + running.of + " tests" + (running.failed ? ", " + running.failed + " failed" : ""));
    }
  }

  // A test that does not end: its Python is ended, and the next one makes the report of what was heard.
  async function cut() {
    const { entries } = running;
    clearTimeout(running.clock);
    try {
      const ready = await fresh();
      if (!running) return;
      say("the report is being written");
      ready.postMessage({ unfinished: entries });
    } catch (error) { ended(null, error.message); }
  }

  function stop() {
    if (!running) return;
    const { done, of } = running;
    finish();
    fresh().then(() => say("stopped after " + done + " of " + (of || "?") + " tests; Python is ready again"), failed);
  }

  function finish() {
    clearTimeout(running.clock);
    running = null;
    ui.run.disabled = false;
    ui.stop.disabled = true;
    ui.bar.hidden = true;
  }

  function ended(result, why) {
    if (!running) { if (why) failed(new Error(why)); return; }
    finish();
    if (!result) {
      failed(new Error(why || "Python ended"));
      isReady = Promise.reject(new Error("ended"));
      isReady.catch(() => {});
      return;
    }
    show(result);
    fresh().then(() => say(summary(result)), failed);
    say(summary(result));
  }
  const summary = (result) => result.status === 0 ? "all " + result.passed + " tests passed"
    : result.passed + " passed, " + result.failed + " failed";
  function failed(error) {
    box.dispatchEvent(new CustomEvent("exercise-failed", { detail: error.message }));
    say("Python could not run: " + error.message);
  }
  function say(text) { if (ui.status.textContent !== text) ui.status.textContent = text; }

  // -- the report, with links to the lines that it names
  function show(result) {
    const text = result.report.join("\n").trim().slice(0, SHOWN);
    ui.report.replaceChildren();
    ui.report.hidden = false;
    ui.report.dataset.status = result.status;
    let from = 0;
    for (const match of text.matchAll(/(chapters\/[\w.-]+\.qmd):(\d+)|make hint TOPIC=\d+/g)) {
      ui.report.append(text.slice(from, match.index), match[1] ? place(match) : hint(match[0]));
      from = match.index + match[0].length;
    }
    ui.report.append(text.slice(from));
    box.dispatchEvent(new CustomEvent("exercise-report", { detail: result }));
  }
  function place([text, path, line]) {
    const own = path === topic.source;
    const chunk = own && topic.chunks.find(([first, last]) => first <= line && line <= last);
    if (own && !(chunk && document.getElementById(chunk[2]))) return text;
    return make("a", { textContent: text,
      href: chunk ? "#" + chunk[2] : path.split("/").pop().replace(/\.qmd$/, ".html") });
  }
  function hint(text) {
    const hints = Array.from(document.querySelectorAll("details.hint"));
    if (!hints.length) return text;
    return button(text, () => {
      const next = hints.find((each) => !each.open) || hints[hints.length - 1];
      next.open = true;
      next.scrollIntoView({ block: "center" });
      next.querySelector("summary").focus({ preventScroll: true });
    }, { className: "exercise-hint" });
  }
})();
