// Code that is folded away: one switch for the whole page, which the next page remembers.
(() => {
  const folded = document.querySelectorAll("details.hide"), button = document.querySelector(".rf-code-switch");
  if (!button) return;
  const kept = window.localStorage ?? {};
  let shown = false;
  try { shown = kept.getItem("rf-code") === "shown"; } catch {} // a page from disk may have no store
  const show = () => {
    document.documentElement.classList.toggle("rf-code-shown", shown);
    for (const each of folded) each.open = shown;
    button.setAttribute("aria-pressed", shown);
    button.textContent = shown ? "Hide code again" : "Show all code";
  };
  button.addEventListener("click", () => {
    shown = !shown;
    try { kept.setItem("rf-code", shown ? "shown" : ""); } catch {}
    show();
  });
  show();
})();
