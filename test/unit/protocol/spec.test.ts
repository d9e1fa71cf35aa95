import { describe, expect, it } from 'vitest';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';

const issueOf = (change: object): string => {
  const parsed = jobSpecSchema.safeParse({ version: 1, command: ['true'], ...change });
  const issue = parsed.error?.issues[0];
  return issue === undefined ? 'accepted' : `${issue.path.join('.')}: ${issue.message}`;
};

describe('a job specification', () => {
  it.each([
    ['', 'name: must not be empty'],
    ['a\u202elive', /^name: must not contain control characters, invisible spaces or marks/],
    ['a\u200bb', /^name: must not contain/],
    ['a\nb', /^name: must not contain/],
    ['a\ud800', 'name: must be well-formed Unicode'],
    ['x'.repeat(129), 'name: must not be longer than 128 characters'],
    ['訓練 🚀 قطار', 'accepted'],
  ])('takes names that read as they are written: %j', (name, told) => {
    expect(issueOf({ name })).toMatch(told instanceof RegExp ? told : new RegExp(`^${told}$`));
  });

  it('takes only texts that have bytes: no lone surrogate, no NUL', () => {
    expect(issueOf({ command: ['echo', 'a\ud800b'] })).toBe('command.1: must be well-formed Unicode');
    expect(issueOf({ command: ['echo', 'a\0b'] })).toBe('command.1: must not contain a NUL character');
    expect(issueOf({ environment: { A: '\udfff' } })).toBe('environment.A: must be well-formed Unicode');
  });

  it('fetches nothing by a URL: inputs are SHA-256 sums of what lies with the scheduler (A36)', () => {
    const digest = 'a'.repeat(64);
    const input = { path: 'in', kind: 'file', sizeBytes: 1 };
    expect(issueOf({ inputs: [{ ...input, digest }] })).toBe('accepted');
    for (const url of [
      'http://169.254.169.254/latest',
      'file:///etc/shadow',
      '//127.0.0.1/x',
      `${digest}@127.0.0.1`,
    ]) {
      expect(issueOf({ inputs: [{ ...input, digest: url }] })).toMatch(/^inputs.0.digest: /);
      expect(issueOf({ inputs: [{ ...input, digest, url }] })).toMatch(/^inputs.0: .*url/);
      expect(issueOf({ image: `x ${url}`, executor: 'container' })).toMatch(/^image: /);
    }
    for (const name of ['url', 'source', 'codePath', 'code_path', 'dataset_path'])
      expect(issueOf({ [name]: 'http://169.254.169.254/' })).toMatch(/^: /);
  });

  it('says its limits in words', () => {
    expect(issueOf({ command: Array(5000).fill('a') })).toMatch(
      /^command: must not have more than 4096 words/,
    );
    expect(issueOf({ command: [] })).toBe('command: must name a program');
    expect(issueOf({ command: [''] })).toBe('command.0: must name a program');
    expect(issueOf({ command: ['a'.repeat(100_000), 'b'.repeat(100_000)] })).toMatch(/^command: .*exceed/);
  });
});
