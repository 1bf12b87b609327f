// Virtual scrolling: a list or grid of any length, of which only visible items are in the page.
"use strict";

class VirtualList {
  /**
   * container: a scrolling element; columns: () => number in a row; rowHeight: () => pixels;
   * render: (position) => element; open: (position) => called on Enter or click; role: of each item.
   */
  constructor(container, { columns, rowHeight, render, open, role }) {
    Object.assign(this, { container, columns, rowHeight, render, open, role });
    this.count = 0;
    this.active = 0;
    this.shown = new Map();
    this.spacer = htmlElement("div", { class: "spacer", role: "presentation" });
    container.append(this.spacer);
    container.addEventListener("scroll", () => this.draw(), { passive: true });
    container.addEventListener("keydown", (event) => this.onKey(event));
    this.spacer.addEventListener("click", (event) => {
      const item = event.target.closest("[data-position]");
      if (!item) return;
      this.activate(Number(item.dataset.position));
      this.open(this.active);
    });
    new ResizeObserver(() => this.redraw()).observe(container);
  }

  /** Show other items; the position stays where it can. */
  reset(count, active = 0) {
    this.count = count;
    this.active = Math.max(0, Math.min(active, count - 1));
    this.redraw();
    this.reveal();
  }

  /** Redraw all visible items. */
  redraw() {
    for (const item of this.shown.values()) item.remove();
    this.shown.clear();
    this.draw();
  }

  /** Add items that became visible and remove those that no longer are. */
  draw() {
    const columns = this.columns();
    const height = this.rowHeight();
    this.spacer.style.height = `${Math.ceil(this.count / columns) * height}px`;
    const first = Math.max(0, Math.floor(this.container.scrollTop / height) - 1) * columns;
    const rows = Math.ceil(this.container.clientHeight / height) + 3;
    const stop = Math.min(this.count, first + rows * columns);
    for (const [position, item] of this.shown) {
      if (position < first || position >= stop) {
        item.remove();
        this.shown.delete(position);
      }
    }
    for (let position = first; position < stop; position += 1) {
      if (this.shown.has(position)) continue;
      const item = this.render(position);
      item.id = `${this.container.id}-${position}`;
      item.dataset.position = position;
      item.setAttribute("role", this.role);
      item.setAttribute(this.role === "row" ? "aria-rowindex" : "aria-posinset", position + (this.role === "row" ? 2 : 1));
      if (this.role === "option") item.setAttribute("aria-setsize", this.count);
      item.style.position = "absolute";
      item.style.top = `${Math.floor(position / columns) * height}px`;
      item.style.left = `${(100 * (position % columns)) / columns}%`;
      item.style.width = `${100 / columns}%`;
      this.shown.set(position, item);
      this.spacer.append(item);
    }
    this.mark();
  }

  /** Mark the active item. */
  mark() {
    for (const [position, item] of this.shown) item.setAttribute("aria-selected", position === this.active);
    if (this.shown.has(this.active)) this.container.setAttribute("aria-activedescendant", `${this.container.id}-${this.active}`);
    else this.container.removeAttribute("aria-activedescendant");
  }

  /** Make an item the active one and scroll to it. */
  activate(position) {
    if (!this.count) return;
    this.active = Math.max(0, Math.min(position, this.count - 1));
    this.reveal();
    this.mark();
  }

  /** Scroll to the active item. */
  reveal() {
    const height = this.rowHeight();
    const top = Math.floor(this.active / this.columns()) * height;
    const { scrollTop, clientHeight } = this.container;
    if (top < scrollTop) this.container.scrollTop = top;
    else if (top + height > scrollTop + clientHeight) this.container.scrollTop = top + height - clientHeight;
    this.draw();
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const columns = this.columns();
    const page = Math.max(1, Math.floor(this.container.clientHeight / this.rowHeight()) - 1) * columns;
    const steps = {
      ArrowDown: columns, ArrowUp: -columns, ArrowRight: 1, ArrowLeft: -1,
      PageDown: page, PageUp: -page, Home: -this.count, End: this.count,
    };
    if (event.key in steps) this.activate(this.active + steps[event.key]);
    else if (event.key === "Enter" && this.count) this.open(this.active);
    else return;
    event.preventDefault();
  }
}
