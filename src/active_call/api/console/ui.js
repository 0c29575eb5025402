// The building blocks of all pages. Text from callers, models and carriers is always a child or an attribute here, never markup.

import { createContext, html, render, useCallback, useContext, useEffect, useMemo, useRef, useState } from "./vendor/htm/standalone.module.js";

export { createContext, html, render, useCallback, useContext, useEffect, useMemo, useRef, useState };

let hasNavigated = false;
addEventListener("hashchange", () => { hasNavigated = true; });

/** A page with its heading; after a change of page the heading gets the focus, so that a screen reader announces it. */
export function Page({ title, aside, children }) {
  const heading = useRef(null);
  useEffect(() => {
    document.title = `${title} · active-call`;
    if (hasNavigated && (document.activeElement === document.body || document.activeElement?.closest("nav"))) heading.current?.focus({ preventScroll: true });
  }, [title]);
  return html`
    <div class="page-head"><h1 ref=${heading} tabindex="-1">${title}</h1>${aside}</div>
    ${children}`;
}

/** An error, announced once. */
export const Problem = ({ text }) => (text ? html`<p class="problem" role="alert">${text}</p>` : null);

/** A short word with a colour: `good`, `bad`, `warn` or none. */
export const Badge = ({ kind = "", children }) => html`<span class=${`badge ${kind}`}>${children}</span>`;

export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;

/** A labelled input or select; `children` replace the input. */
export function Field({ label, hint, children, ...input }) {
  return html`<label class="field"><span>${label}</span>${children ?? html`<input ...${input} />`}${hint && html`<small>${hint}</small>`}</label>`;
}

/** A select of `[value, text]` pairs. */
export function Select({ label, value, options, onChange, ...rest }) {
  return html`<${Field} label=${label}>
    <select value=${value} onChange=${event => onChange(event.currentTarget.value)} ...${rest}>
      ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select>
  <//>`;
}

/** A table in a region with its own scrolling, also by keyboard. `columns`: headings; `rows`: arrays of cells. */
export function Table({ label, columns, rows }) {
  return html`
    <div class="table" role="region" aria-label=${label} tabindex="0">
      <table>
        <thead><tr>${columns.map(column => html`<th scope="col">${column}</th>`)}</tr></thead>
        <tbody>${rows.map(cells => html`<tr>${cells.map((cell, index) => html`<td data-label=${columns[index]}>${cell}</td>`)}</tr>`)}</tbody>
      </table>
    </div>`;
}

/** Pairs of names and values; absent values are left out. */
export function Facts({ pairs }) {
  const told = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return html`<dl class="facts">${told.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** The running time: renders again every `everyMs`. */
export function useNow(everyMs = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

/** The parts of the address after `#/`. */
export function useRoute() {
  const decoded = part => { try { return decodeURIComponent(part); } catch { return part; } };
  const read = () => location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = () => setRoute(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

export const goTo = (...parts) => { location.hash = `#/${parts.map(encodeURIComponent).join("/")}`; };
