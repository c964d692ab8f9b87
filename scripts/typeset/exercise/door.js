// The one script that a page with an exercise loads before the reader asks for more.
(function () {
  "use strict";
  document.querySelectorAll("section.exercise").forEach((box) => {
    const open = box.querySelector(".exercise-open");
    open.disabled = false;
    open.addEventListener("click", () => {
      open.disabled = true;
      const folder = box.dataset.assets;
      const style = document.createElement("link");
      style.rel = "stylesheet";
      style.href = folder + "/exercise.css";
      document.head.append(style);
      const script = document.createElement("script");
      script.src = folder + "/exercise.js";
      script.onload = () => window.bookExercise.open(box);
      script.onerror = () => { open.textContent = "The exercise could not be loaded"; };
      document.head.append(script);
    });
  });
})();
