import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { catalogue, childrenOf, firstWords } from '../../../src/cli/catalogue.ts';
import { completionScript } from '../../../src/cli/completion.ts';

test('every command of several words stands below one that there is', () => {
  const names = new Set(catalogue.map(({ name }) => name));
  for (const name of names)
    if (name.includes(' ')) expect(names).toContain(name.slice(0, name.lastIndexOf(' ')));
  expect(childrenOf('scheduler').map(({ word }) => word)).toContain('token');
  expect(childrenOf('scheduler token').map(({ word }) => word)).toEqual(['create', 'list', 'revoke']);
  expect(firstWords().every(({ group }) => group !== null)).toBe(true);
});

test('bash is offered the words of the level that is written', () => {
  const script = completionScript('bash');
  const offered = (...words: string[]): string =>
    execFileSync(
      'bash',
      [
        '-c',
        `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _flopd; echo "\${COMPREPLY[*]}"`,
        'bash',
        ...words,
      ],
      { encoding: 'utf8' },
    ).trim();
  expect(offered('flopd', 'sch')).toBe('scheduler schema');
  expect(offered('flopd', 'scheduler', 'tok')).toBe('token');
  expect(offered('flopd', 'scheduler', 'token', 'cr')).toBe('create');
  expect(offered('flopd', 'node', 'rev')).toBe('revoke');
  expect(offered('flopd', 'nodes', '--sched')).toBe('--scheduler');
});

test('fish is offered a child behind all words of its parent', () => {
  expect(completionScript('fish')).toContain(
    "'__fish_seen_subcommand_from scheduler; and __fish_seen_subcommand_from token; and not __fish_seen_subcommand_from create list revoke' -a create",
  );
});
