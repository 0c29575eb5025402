// A call of this page as state of a component.

import { attempt, client } from "../api.js";
import { deviceError } from "../format.js";
import { useEffect, useRef, useState } from "../ui.js";
import { hear, NOTHING } from "./conversation.js";
import { audioContext } from "./meter.js";

/** A call of this page, and its state. `begin` takes the arguments of `Client.call`, and returns the call, or null. */
export function useBrowserCall() {
  const [call, setCall] = useState(null);
  const [talk, setTalk] = useState(NOTHING);
  const [phase, setPhase] = useState("idle");
  const [problem, setProblem] = useState("");
  const [lacksMicrophone, setLacksMicrophone] = useState(false);
  const [media, setMedia] = useState("");
  const current = useRef(null);
  useEffect(() => () => current.current?.hangup("page left"), []);
  const begin = async wanted => {
    setProblem("");
    setLacksMicrophone(false);
    setTalk(NOTHING);
    setPhase("calling");
    audioContext();
    try {
      const line = current.current = await attempt(() => client.call(wanted));
      line.on("*", (event, name) => { if (event?.event === name) setTalk(old => hear(old, event)); });
      line.on("media", setMedia);
      line.done.then(ended => {
        setPhase("over");
        if (ended?.extra?.reasonText && ended.initiator === "system") setProblem(ended.extra.reasonText);
      });
      setCall(line);
      setPhase("up");
      return line;
    } catch (error) {
      setPhase("idle");
      setProblem(deviceError(error));
      setLacksMicrophone(/^(Not(Allowed|Found|Readable)|Overconstrained)Error$/.test(error.name));
      return null;
    }
  };
  const hangUp = () => { current.current?.hangup(); setPhase("over"); };
  return { call, talk, phase, problem, lacksMicrophone, media, begin, hangUp };
}
