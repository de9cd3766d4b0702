// What the console does beyond plain pages: times of the place where one reads,
// and a question before what cannot be undone. Without this script both are
// left out, and everything else works.
"use strict";

// htmx puts answers of this server into the page as HTML. The policy of the page
// asks that this be said; nothing else may make scripts or their addresses.
if (window.trustedTypes) {
  window.trustedTypes.createPolicy("default", { createHTML: (text) => text });
}

const here = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function tellTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.textContent = here.format(new Date(time.dateTime));
  }
}

document.addEventListener("DOMContentLoaded", () => tellTimes(document));
document.addEventListener("htmx:afterSwap", (event) => tellTimes(event.target));
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
  }
});
