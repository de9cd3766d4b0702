/**
 * A banner that says when the session is about to end, for pages of any make.
 *
 * @module
 */
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

/**
 * Defines the element `<counterfoil-banner>`, or one of another name. Its words
 * are its attributes `idle-text`, `expired-text` and `button-text`.
 */
export function defineBanner(name = "counterfoil-banner"): void {
  if (customElements.get(name)) return;
  customElements.define(name, class extends HTMLElement implements SessionBanner {
    #watch: IdleWatch | undefined;
    #stop = () => {};
    #tick: ReturnType<typeof setInterval> | undefined;
    #text: HTMLElement;
    #button: HTMLButtonElement;
    #time: HTMLElement;

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      // What it says is read out once, and not again for each second.
      root.innerHTML = `<style>${style}</style><div part="banner" role="alert"><span part="text"></span><span part="time" aria-hidden="true"></span><button part="button" type="button"></button></div>`;
      this.#text = root.querySelector("[part=text]")!;
      this.#time = root.querySelector("[part=time]")!;
      this.#button = root.querySelector("button")!;
      this.#button.addEventListener("click", () => void this.#watch?.keepWorking().catch(() => {}));
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
      clearInterval(this.#tick);
    }

    #show(warning: Warning | undefined): void {
      clearInterval(this.#tick);
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
        this.#time.textContent = Math.floor(seconds / 60) + ":" + String(seconds % 60).padStart(2, "0");
      };
      tick();
      this.#tick = setInterval(tick, 1000);
    }
  });
}
