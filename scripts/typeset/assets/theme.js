// Runs before the page is painted, so that it never flashes in the wrong colours.
(function () {
  "use strict";
  var theme = "";
  try { theme = localStorage.getItem("book-theme") || ""; } catch (_) { /* private window */ }
  if (theme) document.documentElement.dataset.theme = theme;
})();
