// Terms of the glossary: the definition, which each link has as its title, opens beside it.
(() => {
  const terms = document.querySelectorAll("a.rf-term[title]"), WAIT = 200; // ms: room to move onto what has opened
  if (!terms.length || !HTMLElement.prototype.showPopover) return; // the browser shows the title
  const box = document.createElement("div"), said = document.createElement("p"), more = document.createElement("a");
  Object.assign(box, { className: "rf-definition", popover: "auto" }); // a click elsewhere closes it
  Object.assign(said, { id: "rf-definition", role: "tooltip" });
  more.textContent = "Glossary";
  box.append(said, more);
  document.body.append(box);
  let shown = null, timer = 0, finger = false;
  const later = act => { clearTimeout(timer); timer = setTimeout(act, WAIT); };
  const close = () => { clearTimeout(timer); if (box.matches(":popover-open")) box.hidePopover(); };
  const open = (term, touched) => {
    clearTimeout(timer);
    if (shown === term && box.matches(":popover-open")) return;
    close();
    shown = term;
    said.textContent = term.dataset.definition;
    more.href = term.href;
    more.hidden = !touched; // otherwise the term itself is the link
    term.setAttribute("aria-describedby", said.id);
    box.showPopover();
    // Below the term, or above it where there is no room; inside the page, and of the text where that is wide.
    const at = term.getClientRects(), last = at[at.length - 1], own = box.getBoundingClientRect();
    const page = document.documentElement, above = at[0].top - own.height - 4;
    const top = last.bottom + 4 + own.height > page.clientHeight && above > 0 ? above : last.bottom + 4;
    const right = Math.min(page.clientWidth, term.closest("article")?.getBoundingClientRect().right ?? Infinity) - 8;
    box.style.left = `${Math.max(8, Math.min(last.left, right - own.width)) + scrollX}px`;
    box.style.top = `${top + scrollY}px`;
  };
  box.addEventListener("beforetoggle", event => { if (event.newState === "closed") shown?.removeAttribute("aria-describedby"); });
  box.addEventListener("pointerenter", () => clearTimeout(timer));
  box.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") later(close); });
  document.addEventListener("keydown", event => { if (event.key === "Escape") close(); });
  for (const term of terms) {
    term.dataset.definition = term.title;
    term.removeAttribute("title");
    term.addEventListener("pointerenter", event => { if (event.pointerType === "mouse") later(() => open(term, false)); });
    term.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") later(close); });
    term.addEventListener("pointerdown", event => { finger = event.pointerType === "touch"; });
    term.addEventListener("keydown", () => { finger = false; });
    term.addEventListener("click", event => {
      if (!finger) return; // a mouse and the keyboard go there
      event.preventDefault();
      open(term, true);
    });
    term.addEventListener("focus", () => { if (term.matches(":focus-visible") && !finger) open(term, false); });
    term.addEventListener("blur", event => { if (event.relatedTarget !== more) later(close); });
  }
})();
