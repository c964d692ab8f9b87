// Theme, menu, keys, copy buttons, and the mark of the section that is being read.
(function () {
  "use strict";
  const root = document.documentElement;
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => Array.from(document.querySelectorAll(selector));

  // -- dark and light
  const button = one("#theme");
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const showTheme = () => button.setAttribute("aria-pressed", String(isDark()));
  function toggleTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("book-theme", root.dataset.theme); } catch (_) { /* not remembered */ }
    showTheme();
  }
  button.addEventListener("click", toggleTheme);
  showTheme();

  // -- the chapters on a narrow screen
  const menu = one("#menu");
  const side = one("#chapters");
  function setMenu(open) {
    side.classList.toggle("open", open);
    menu.setAttribute("aria-expanded", String(open));
    if (open) (side.querySelector("[aria-current]") || side.querySelector("a")).focus();
  }
  menu.addEventListener("click", () => setMenu(!side.classList.contains("open")));
  side.addEventListener("click", (event) => { if (event.target.closest("a")) setMenu(false); });
  const current = side.querySelector("[aria-current]");
  if (current && side.scrollHeight > side.clientHeight) {
    side.scrollTop = current.offsetTop - side.clientHeight / 3;
  }

  // -- what is wider than the page can be scrolled by keyboard
  const names = { PRE: "Code", DIV: "Table or formula" };
  function markScrollers() {
    all("pre, .table, .eqbody").forEach((box) => {
      if (box.scrollWidth <= box.clientWidth + 1) { box.removeAttribute("tabindex"); box.removeAttribute("role"); return; }
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", names[box.tagName] + ", scrolls sideways");
    });
  }
  addEventListener("load", markScrollers);
  addEventListener("resize", markScrollers);

  // -- copy buttons
  function copyText(code) {
    const copy = code.cloneNode(true);
    copy.querySelectorAll(".mark").forEach((mark) => mark.remove());
    return copy.textContent.replace(/⟨/g, "<<").replace(/⟩/g, ">>").replace(/[ \t]+$/gm, "") + "\n";
  }
  async function toClipboard(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  all("div.code:not(.output):not(.error)").forEach((block) => {
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "copy";
    copy.textContent = "Copy";
    copy.setAttribute("aria-label", "Copy this code");
    copy.addEventListener("click", async () => {
      await toClipboard(copyText(block.querySelector("code")));
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1400);
    });
    block.append(copy);
  });

  // -- where the reader is
  const links = all(".toc a, .side .sections a");
  if (links.length && "IntersectionObserver" in window) {
    const heads = links.map((a) => document.getElementById(decodeURIComponent(a.hash.slice(1)))).filter(Boolean);
    const mark = () => {
      let here = heads[0];
      let section = heads[0];
      for (const head of heads) {
        if (head.getBoundingClientRect().top >= 120) continue;
        here = head;
        if (head.tagName === "H2") section = head;
      }
      links.forEach((a) => {
        if (a.hash === "#" + (a.closest(".sections") ? section : here).id) a.setAttribute("aria-current", "true");
        else a.removeAttribute("aria-current");
      });
    };
    new IntersectionObserver(mark, { rootMargin: "-80px 0px -60% 0px" }).observe(heads[0]);
    let waiting = false;
    addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; mark(); });
    }, { passive: true });
    mark();
  }

  // -- a link into a folded answer opens it
  function openTarget() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  }
  addEventListener("hashchange", openTarget);
  openTarget();
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((box) => { box.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((box) => { box.open = false; }));

  // -- keys
  const follow = (rel) => { const a = one(`.neighbours a[rel=${rel}]`); if (a) location.href = a.href; };
  const keys = {
    "/": () => one("#query").focus(),
    n: () => follow("next"), ArrowRight: () => follow("next"),
    p: () => follow("prev"), ArrowLeft: () => follow("prev"),
    d: toggleTheme,
    "?": () => one("#keys").showModal(),
    Escape: () => { if (side.classList.contains("open")) { setMenu(false); menu.focus(); } },
  };
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, textarea, select, [contenteditable]");
    const scroller = event.key.startsWith("Arrow") && event.target.closest("pre, .table, .eqbody");
    if (field || scroller || event.ctrlKey || event.metaKey || event.altKey || one("#keys").open) return;
    const act = keys[event.key];
    if (!act) return;
    if (event.key === "/") event.preventDefault();
    act();
  });
})();
