// How the succession of the scheduler's private authority is told to a person.
import type { AuthorityView } from '../protocol/api.ts';

export function authorityFields(view: AuthorityView): readonly (readonly [string, string])[] {
  const at = (ms: number): string => new Date(ms).toISOString();
  const { phase, next, previous, nextPhaseAtMs } = view;
  const when = nextPhaseAtMs === null ? '' : at(nextPhaseAtMs);
  return [
    ['phase', sentences[phase](when)],
    ['signs', view.signs],
    ...(next === null ? [] : [['next', next] as const]),
    ...(previous === null ? [] : [['previous', previous] as const]),
    ['certificate', `good until ${at(view.certificateExpiresAtMs)}, renewed before half of its life is over`],
  ];
}

const sentences: Readonly<Record<AuthorityView['phase'], (when: string) => string>> = {
  steady: () => 'steady: one authority signs, and nodes trust it alone',
  announced: (when) => `announced: nodes are told of the next authority, which signs from ${when} on`,
  succeeded: (when) => `succeeded: the next authority signs; the previous one is trusted until ${when}`,
};
