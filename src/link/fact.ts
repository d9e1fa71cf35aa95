// The text of a fact, checked before it is kept: one that the scheduler must refuse would end every session that it is sent in.
import { Fault } from '../base/fault.ts';
import { type AgentMessage, agentMessageSchema } from '../protocol/control.ts';
import { parseTolerant } from '../protocol/tolerant.ts';

/** `what` names it in a sentence. Throws LINK_FACT_INVALID for one that does not fit the protocol. */
export function factText(what: string, message: AgentMessage): string {
  const parsed = parseTolerant(agentMessageSchema, message);
  // As it was written, also by a newer build that was then rolled back.
  if (parsed.success) return JSON.stringify(message);
  const field = parsed.issue.path.join('.') || 'message';
  throw new Fault('LINK_FACT_INVALID', `the ${what} does not fit the protocol`, { field });
}
