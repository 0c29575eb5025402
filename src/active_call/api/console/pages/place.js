// Place a call to a telephone, with a playbook for the conversation.

import { attempt, client, useLoaded } from "../api.js";
import { Field, goTo, html, Page, Problem, Select, useState } from "../ui.js";

/** `name = value`, one on each line; JSON values are parsed. Throws for a line without a name. */
function parseVariables(text) {
  const pairs = text.split("\n").filter(line => line.trim()).map(line => {
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`variables: expected "name = value", found "${line.trim()}"`);
    const given = line.slice(at + 1).trim();
    try { return [line.slice(0, at).trim(), JSON.parse(given)]; } catch { return [line.slice(0, at).trim(), given]; }
  });
  return Object.fromEntries(pairs);
}

export function PlacePage() {
  const books = useLoaded(() => client.playbooks(), []);
  const [wanted, setWanted] = useState({ callee: "", caller: "", playbook: "", variables: "" });
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const set = key => event => setWanted(old => ({ ...old, [key]: event.currentTarget.value }));
  const playbook = wanted.playbook || books.value?.[0]?.name || "";
  const place = async event => {
    event.preventDefault();
    setProblem("");
    setBusy(true);
    try {
      const { callee, caller, variables } = wanted;
      const vars = parseVariables(variables);
      goTo("live", await attempt(() => client.place({ callee, playbook, vars, ...(caller ? { caller } : {}) })));
    } catch (error) {
      setProblem(error.message);
    } finally {
      setBusy(false);
    }
  };
  return html`
    <${Page} title="Place a call">
      <form class="card form" onSubmit=${place}>
        <${Field} label="Call" hint="A number goes over the first trunk with a server." value=${wanted.callee} onInput=${set("callee")} required placeholder="+49301234567 or sip:bob@example.com" autocomplete="off" />
        <${Select} label="Playbook" value=${playbook} options=${(books.value ?? []).map(book => [book.name, book.name])} onChange=${name => setWanted(old => ({ ...old, playbook: name }))} />
        <${Field} label="Our number (optional)" hint="Default: the caller number of the trunk." value=${wanted.caller} onInput=${set("caller")} autocomplete="off" />
        <${Field} label="Variables of the playbook (optional)" hint="One a line: name = value">
          <textarea rows="3" value=${wanted.variables} onInput=${set("variables")} spellcheck="false"></textarea>
        <//>
        <${Problem} text=${problem || books.error} />
        <button class="main" disabled=${isBusy || !playbook}>${isBusy ? "Placing …" : "Place the call"}</button>
      </form>
    <//>`;
}
