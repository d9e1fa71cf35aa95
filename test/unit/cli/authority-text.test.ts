import { describe, expect, it } from 'vitest';
import { authorityFields } from '../../../src/cli/authority-text.ts';

const atMs = Date.UTC(2026, 11, 5);
const text = (change: object) =>
  authorityFields({
    phase: 'steady',
    signs: 'sha256-A',
    next: null,
    previous: null,
    nextPhaseAtMs: null,
    certificateExpiresAtMs: atMs,
    ...change,
  })
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n');

describe('the succession of an authority in words', () => {
  it('says who signs now, who is next and when', () => {
    expect(text({})).toMatch(/^phase: steady.*\nsigns: sha256-A\ncertificate: good until 2026-12-05T/);
    expect(text({ phase: 'announced', next: 'sha256-B', nextPhaseAtMs: atMs })).toMatch(
      /which signs from 2026-12-05T00:00:00.000Z on\n.*\nnext: sha256-B\n/,
    );
    expect(text({ phase: 'succeeded', previous: 'sha256-0', nextPhaseAtMs: atMs })).toMatch(
      /trusted until 2026-12-05T00:00:00.000Z\n.*\nprevious: sha256-0\n/,
    );
  });
});
