// The console's connection to the server: one client, whose token is stored in this tab only, and hooks that load and follow.

import { ApiError, Client } from "/client.js";
import { useEffect, useState } from "./ui.js";

const KEY = "active-call token";
const askers = new Set();

export const client = new Client({ token: sessionStorage.getItem(KEY) ?? "" });

/** Called whenever the server requires a token: with true after a wrong one. */
export function onTokenNeeded(listener) {
  askers.add(listener);
  return () => askers.delete(listener);
}

export function useToken(token) {
  client.token = token;
  if (token) sessionStorage.setItem(KEY, token); else sessionStorage.removeItem(KEY);
}

/** A refusal of the token `used`: it is asked for, unless another one was entered while the answer was on its way. */
function noteRefusal(error, used) {
  if (!(error instanceof ApiError) || error.status !== 401 || used !== client.token) return;
  useToken("");
  askers.forEach(ask => ask(Boolean(used)));
}

/** Call the server; if the token is refused, ask for another. */
export async function attempt(work) {
  const used = client.token;
  try {
    return await work();
  } catch (error) {
    noteRefusal(error, used);
    throw error;
  }
}

export const get = path => attempt(async () => (await client.request(path)).json());

/** The result of `load`: `{value, error, reload}`; loaded again when `inputs` change. */
export function useLoaded(load, inputs) {
  const [state, setState] = useState({ value: undefined, error: "" });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isWanted = true;
    attempt(load).then(
      value => isWanted && setState({ value, error: "" }),
      error => isWanted && setState(old => ({ value: old.value, error: error.message })),
    );
    return () => { isWanted = false; };
  }, [...inputs, turn]);
  return { ...state, reload: () => setTurn(old => old + 1) };
}

/** All live calls with their changes: `{calls, n, error}`; undefined until they are known. */
export function useLiveCalls() {
  const [state, setState] = useState({ calls: undefined, n: 0, error: "" });
  useEffect(() => {
    const stop = new AbortController(), used = client.token;
    (async () => {
      try {
        for await (const { data } of client.stream("/api/console/calls", { signal: stop.signal })) setState({ ...data, error: "" });
      } catch (error) {
        if (stop.signal.aborted) return;
        noteRefusal(error, used);
        setState(old => ({ ...old, error: error.message }));
      }
    })();
    return () => stop.abort();
  }, []);
  return state;
}
