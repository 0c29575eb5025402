// The steps of a SIP call for its ladder: one for each message, or from the events for records without messages. Pure, imports nothing.

/** Arrows `{at, text, isIn}` of a record's SIP messages; `isIn`: from the other side to us. */
export function messageSteps(messages) {
  const seen = new Set();
  return messages.map(message => {
    const [number, method] = (message.headers?.CSeq ?? "").split(/\s+/);
    const response = /^SIP\/2\.0\s+(.*)$/.exec(message.startLine);
    const what = response ? `${response[1]}${method && method !== "INVITE" ? ` (${method})` : ""}` : message.startLine.split(" ")[0];
    const target = what === "REFER" && message.headers?.["Refer-To"] ? ` to ${message.headers["Refer-To"]}` : "";
    const reason = message.headers?.Reason ? ` · ${message.headers.Reason}` : "";
    const key = `${message.received}|${message.startLine}|${number} ${method}|${message.headers?.To}`;
    const again = seen.has(key) ? " (again)" : "";
    seen.add(key);
    return { at: message.timestamp, text: `${what}${target}${again}${reason}`, isIn: message.received };
  });
}

/** The steps of a record's own leg, from its messages if it has them. */
export function stepsOf(record) {
  return record.sipMessages?.length ? messageSteps(record.sipMessages) : eventSteps(record);
}

/** The same, from the events. */
function eventSteps(record) {
  const isIn = record.direction === "inbound";
  const steps = [{ at: Date.parse(record.startTime), text: "INVITE", isIn }];
  let answered = false;
  for (const event of record.events) {
    if (event.refer) continue;
    const add = (text, fromPeer) => steps.push({ at: event.timestamp, text, isIn: fromPeer });
    switch (event.event) {
      case "ringing": add(event.earlyMedia ? "183 with sound" : "180 Ringing", !isIn); break;
      case "answer": if (!answered) { answered = true; add("200 OK", !isIn); } break;
      case "mediaReady": add("ACK", isIn); break;
      case "hold": add(event.onHold ? "re-INVITE (hold)" : "re-INVITE (off hold)", event.initiator !== "system"); break;
      case "transferRequest": add(`REFER to ${event.referTo}`, true); break;
      case "transfer": if (event.state === "referring") add(`REFER to ${event.target}`, false); break;
      case "message": add("MESSAGE", true); break;
      case "hangup": {
        const byPeer = event.initiator === (isIn ? "caller" : "callee");
        if (record.answerTime) add("BYE", byPeer);
        else if (record.sipCode && record.sipCode !== 487) add(`${record.sipCode} ${event.extra?.reasonText ?? ""}`.trim(), !isIn);
        else add("CANCEL", isIn);
        break;
      }
      default:
    }
  }
  return steps;
}
