// What the theme leaves without a name for those who hear a page: its sidebar, and the marks that open a part of it.
(() => {
  const sidebar = document.querySelector(".bd-sidebar-primary");
  if (sidebar) Object.assign(sidebar, { role: "region", ariaLabel: "The book" });
  for (const mark of document.querySelectorAll(".bd-sidebar-primary summary")) {
    mark.ariaLabel = `Pages of: ${mark.closest("li").querySelector("a").textContent.trim()}`;
  }
})();
