/**
 * A banner that says when the session is about to end, for pages of any make.
 *
 * @module
 */
import { systemClock } from "./clock.js";
import type { IdleWatch, Warning } from "./idle.js";

/** The element. Style it with `::part(banner)`, `::part(text)`, `::part(time)` and `::part(button)`. */
export interface SessionBanner extends HTMLElement {
  /** What it shows. Set it to make the banner work. */
  watch: IdleWatch | undefined;
}

const style = `
:host { position: fixed; inset: 0 0 auto; z-index: 2147483647; font: 1rem/1.5 system-ui, sans-serif; }
:host([hidden]) { display: none; }
[part=banner] { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; justify-content: center;
  padding: .75rem 1rem; background: #fff4ce; color: #1b1b1b; border-block-end: 2px solid #8a6100; }
[part=button] { font: inherit; padding: .25rem .75rem; border: 1px solid #1b1b1b; border-radius: 4px; background: #fff; color: #1b1b1b; cursor: pointer; }
[part=button]:focus-visible { outline: 3px solid #1a5fb4; outline-offset: 2px; }`;

function part(tag: string, name: string): HTMLElement {
  const element = document.createElement(tag);
  element.part.add(name);
  return element;
}

/**
 * Defines the element `<counterfoil-banner>`, or one of another name. Its words
 * are its attributes `idle-text`, `expired-text` and `button-text`.
 */
export function defineBanner(name = "counterfoil-banner"): void {
  if (customElements.get(name)) return;
  const clock = systemClock();
  const sheet = new CSSStyleSheet(); // unlike a style element, it needs no leave of the page's policy
  sheet.replaceSync(style);
  customElements.define(name, class extends HTMLElement implements SessionBanner {
    #watch: IdleWatch | undefined;
    #stop = () => {};
    #still = () => {}; // stops the clock
    #text = part("span", "text");
    #time = part("span", "time");
    #button = part("button", "button");

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [sheet];
      const banner = part("div", "banner");
      banner.setAttribute("role", "alert");
      // What it says is read out once, and not again for each second.
      this.#time.setAttribute("aria-hidden", "true");
      this.#button.addEventListener("click", () => void this.#watch?.keepWorking().catch(() => {}));
      banner.append(this.#text, this.#time, this.#button);
      root.append(banner);
    }

    get watch(): IdleWatch | undefined {
      return this.#watch;
    }

    set watch(watch: IdleWatch | undefined) {
      this.#stop();
      this.#watch = watch;
      this.#stop = watch?.subscribe((warning) => this.#show(warning)) ?? (() => {});
      this.#show(watch?.warning);
    }

    connectedCallback(): void {
      this.#show(this.#watch?.warning);
    }

    disconnectedCallback(): void {
      this.#still();
    }

    #show(warning: Warning | undefined): void {
      this.#still();
      this.hidden = !warning;
      if (!warning || !this.isConnected) return;
      const words = (attribute: string, otherwise: string) => this.getAttribute(attribute) ?? otherwise;
      this.#text.textContent =
        warning.reason == "idle"
          ? words("idle-text", "You will be logged out because nobody seems to be here.")
          : words("expired-text", "Your session is about to end.");
      this.#button.textContent = words("button-text", "Keep working");
      const tick = () => {
        const seconds = Math.ceil(warning.left() / 1000);
        this.#still = clock.after(1000, tick);
        this.#time.textContent = Math.floor(seconds / 60) + ":" + String(seconds % 60).padStart(2, "0");
      };
      tick();
    }
  });
}
