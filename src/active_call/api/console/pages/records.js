// Ended calls: search, filters, pages.

import { client, useLoaded } from "../api.js";
import { dateTime, length, who } from "../format.js";
import { Badge, Empty, Field, html, Page, Problem, Select, Table, useEffect, useState } from "../ui.js";

const STATUSES = [["", "any"], ["answered", "answered"], ["rejected", "rejected"], ["failed", "failed"], ["crashed", "crashed"]];
const DIRECTIONS = [["", "any"], ["inbound", "inbound"], ["outbound", "outbound"]];
const KINDS = { answered: "good", failed: "bad", crashed: "bad", rejected: "warn" };
const PAGE_SIZE = 50;
const TYPING_MS = 300;

function useSettled(value) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), TYPING_MS);
    return () => clearTimeout(timer);
  }, [JSON.stringify(value)]);
  return settled;
}

export function RecordsPage() {
  const [filters, setFilters] = useState({ q: "", status: "", direction: "", from: "", to: "", min_duration: "" });
  const settled = useSettled(filters);
  const [more, setMore] = useState({ items: [], next: undefined });
  const first = useLoaded(() => client.records({ ...settled, limit: PAGE_SIZE }), [JSON.stringify(settled)]);
  const [problem, setProblem] = useState("");
  useEffect(() => setMore({ items: [], next: undefined }), [first.value]);
  const set = key => given => setFilters(old => ({ ...old, [key]: given.currentTarget ? given.currentTarget.value : given }));
  const next = more.next === undefined ? first.value?.next : more.next;
  const loadMore = async () => {
    try {
      const page = await client.records(next);
      setMore(old => ({ items: [...old.items, ...page.items], next: page.next }));
    } catch (error) { setProblem(error.message); }
  };
  const items = [...(first.value?.items ?? []), ...more.items];
  const rows = items.map(record => [
    html`<a href=${`#/call/${encodeURIComponent(record.id)}`}>${who(record.caller) || "browser"} → ${who(record.callee) || "agent"}</a>`,
    dateTime(record.date), length(record.durationS), html`<${Badge} kind=${KINDS[record.outcome]}>${record.outcome}<//>`, record.direction,
  ]);
  return html`
    <${Page} title="Records" aside=${first.value && html`<span class="count">${first.value.total}</span>`}>
      <form class="toolbar" role="search" onSubmit=${event => event.preventDefault()}>
        <${Field} label="Search" type="search" value=${filters.q} onInput=${set("q")} placeholder="number, name, trunk, reason" />
        <${Select} label="Status" value=${filters.status} options=${STATUSES} onChange=${set("status")} />
        <${Select} label="Direction" value=${filters.direction} options=${DIRECTIONS} onChange=${set("direction")} />
        <${Field} label="From" type="date" value=${filters.from} onInput=${set("from")} />
        <${Field} label="Before" type="date" value=${filters.to} onInput=${set("to")} />
        <${Field} label="At least seconds" type="number" min="0" value=${filters.min_duration} onInput=${set("min_duration")} />
      </form>
      <${Problem} text=${first.error || problem} />
      ${first.value && (rows.length ? html`<${Table} label="Records" columns=${["Call", "Began", "Length", "Status", "Direction"]} rows=${rows} />` : html`<${Empty}>No call matches.<//>`)}
      ${next && html`<button onClick=${loadMore}>Show more</button>`}
    <//>`;
}
