// From the bytes of a text frame to a message of an agent, or a fault that says what was wrong with it.
import { Fault } from '../base/fault.ts';
import { type AgentMessage, agentMessageSchema } from '../protocol/control.ts';
import { isOptional, parseTolerant } from '../protocol/tolerant.ts';
import { parseJson } from './json.ts';

export interface Incoming {
  /** Null for one that may be ignored. */
  readonly message: AgentMessage | null;
  readonly ignored: readonly string[];
}

/** Parses and checks one text frame. Throws Fault LINK_JSON or LINK_MESSAGE. */
export function parseAgentMessage(bytes: Uint8Array): Incoming {
  const value = parseJson(bytes, 'LINK');
  const parsed = parseTolerant(agentMessageSchema, value);
  if (parsed.success) return { message: parsed.data, ignored: parsed.ignored };
  const { code, path } = parsed.issue;
  if (code === 'invalid_union' && path.join('.') === 'type' && isOptional(value))
    return { message: null, ignored: ['type'] };
  throw new Fault('LINK_MESSAGE', 'the message does not fit its schema', {
    field: path.join('.').slice(0, 200),
  });
}
