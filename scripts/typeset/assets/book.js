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
  if (current && window.IntersectionObserver) {                 // it tells places when they are known; to ask would cost a layout
    const looking = new IntersectionObserver(([seen]) => {
      looking.disconnect();
      const low = seen.boundingClientRect.bottom - seen.rootBounds.top - seen.rootBounds.height / 3;
      if (low > 0) side.scrollTop = low;                        // its sections are seen below it
    }, { root: side });
    looking.observe(current);
  }

  // -- what is wider than the page can be scrolled by keyboard
  const names = { PRE: "Code", DIV: "Table or formula" };
  function markScroller(box, wide) {
    if (!wide) { ["tabindex", "role", "aria-label"].forEach((name) => box.removeAttribute(name)); return; }
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", names[box.tagName] + ", scrolls sideways");
  }
  if (window.ResizeObserver) {                                  // it tells of a box when it is laid out, or unfolded
    const boxes = all("pre, .table, .eqbody");
    const watching = new ResizeObserver((entries) => {
      const now = entries.map(({ target }) => [target, target.scrollWidth > target.clientWidth + 1]);
      now.forEach(([box, wide]) => markScroller(box, wide));
    });
    const watch = () => boxes.forEach((box) => { watching.unobserve(box); watching.observe(box); });
    watch();
    if (document.fonts) document.fonts.addEventListener("loadingdone", watch);
  }

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
  const links = all(".side .sections a");
  if (links.length) {
    const places = links.map((a) => {
      const head = document.getElementById(decodeURIComponent(a.hash.slice(1)));
      return { a, head, box: head && head.closest(".stretch, .gate") };
    }).filter(({ box }) => box);
    let here = null;
    const mark = () => {
      let now = null;
      let section = null;
      for (const place of places) {
        const rect = place.box.getClientRects()[0];             // none, where it is folded
        if (!rect || rect.top >= 100) continue;
        now = place;
        if (place.head.tagName === "H2") section = place;
      }
      if (now === here) return;
      here = now;
      places.forEach((place) => {
        if (place === now) place.a.setAttribute("aria-current", "true");
        else place.a.removeAttribute("aria-current");
        place.a.parentElement.classList.toggle("here", place === section);
      });
    };
    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; mark(); });
    };
    addEventListener("scroll", later, { passive: true });
    addEventListener("load", later);
  }

  // -- a link into what is folded opens it
  function openTarget(hash) {
    const target = hash && document.getElementById(decodeURIComponent(hash.slice(1)));
    let opened = false;
    for (let box = target; box; box = box.parentElement) {
      if (box.tagName === "DETAILS" && !box.open) { box.open = true; opened = true; }
    }
    if (opened) target.scrollIntoView();
  }
  addEventListener("hashchange", () => openTarget(location.hash));
  document.addEventListener("click", (event) => {               // also where the address stays as it is
    const a = event.target.closest("a[href*='#']");
    if (a && a.pathname === location.pathname) openTarget(a.hash);
  });
  openTarget(location.hash);

  // -- who has opened a gate finds it open
  all("details.solutions").forEach((box) => {
    box.querySelector("summary").addEventListener("click", () => {
      try { localStorage.setItem("book-gate-" + box.dataset.gate, box.open ? "" : "open"); } catch (_) { /* not remembered */ }
    });
  });

  // -- paper: faces that only parts far away use are there before anyone prints, and what is folded is open
  const fetchFaces = () => document.fonts && document.fonts.forEach((face) => {
    const small = face.unicodeRange.toUpperCase() !== "U+0-10FFFF";
    if (small || face.family.includes("KaTeX") && one(".katex")) face.load().catch(() => {});
  });
  addEventListener("load", () => setTimeout(fetchFaces, 3000));
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
