// Runs before the page is painted, so that it never flashes in the wrong colours.
(function () {
  "use strict";
  var theme = "";
  try { theme = localStorage.getItem("book-theme") || ""; } catch (_) { /* private window */ }
  if (location.protocol.startsWith("http")) {           // a page on a disk may not ask for fonts in advance
    ["SourceSerif4-Regular.latin", "SourceSans3VF-Upright.latin"].forEach(function (name) {
      var link = document.createElement("link");
      Object.assign(link, { rel: "preload", as: "font", type: "font/woff2", crossOrigin: "anonymous",
        href: document.documentElement.dataset.root + "/assets/fonts/" + name + ".woff2" });
      document.head.append(link);
    });
  }
  if (theme) document.documentElement.dataset.theme = theme;
})();
