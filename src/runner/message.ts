// From the text of a frame to a message, or a fault that says what was wrong without repeating it.
import type * as z from 'zod';
import { Fault } from '../base/fault.ts';
import { isNestedDeeper } from '../protocol/nesting.ts';
import { parseTolerant } from '../protocol/tolerant.ts';
import {
  type AgentToRunner,
  agentToRunnerSchema,
  type RunnerToAgent,
  runnerToAgentSchema,
} from './protocol.ts';

/** A report holds an order, which holds a specification. */
const MAX_NESTING = 16;

/** What the agent says, to the letter. Throws RUNNER_MESSAGE_NESTED, RUNNER_MESSAGE_SYNTAX or RUNNER_MESSAGE_INVALID. */
export function parseAgentMessage(text: string): AgentToRunner {
  const parsed = agentToRunnerSchema.safeParse(parseText(text));
  if (parsed.success) return parsed.data;
  throw misfit(parsed.error.issues[0]);
}

/** What the runner says. A result that a newer build wrote keeps the fields that this one does not know. */
export function parseRunnerMessage(text: string): RunnerToAgent {
  const value = parseText(text);
  const parsed = parseTolerant(runnerToAgentSchema as z.ZodType<RunnerToAgent>, value);
  if (!parsed.success) throw misfit(parsed.issue);
  const { data } = parsed;
  return data.type === 'ended' ? { ...data, result: (value as typeof data).result } : data;
}

function parseText(text: string): unknown {
  if (isNestedDeeper(Buffer.from(text), MAX_NESTING))
    throw new Fault('RUNNER_MESSAGE_NESTED', `a message nested deeper than ${MAX_NESTING} levels`);
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own text quotes the message, so it is not kept as the cause.
    throw new Fault('RUNNER_MESSAGE_SYNTAX', 'a message that is not JSON');
  }
}

function misfit(issue: { readonly code?: string; readonly path: readonly PropertyKey[] } | undefined): Fault {
  const steps = (issue?.path ?? [])
    .slice(0, 2)
    .map((step) => (/^\w{1,32}$/.test(String(step)) ? String(step) : '*'));
  return new Fault(
    'RUNNER_MESSAGE_INVALID',
    `a message that does not fit the protocol (${issue?.code ?? 'unknown'})`,
    { field: steps.join('.') || 'message' },
  );
}
