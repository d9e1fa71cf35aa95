// `flopd completion SHELL`: a small script for the shell; words come from the catalogue and the key table.
import { Argument, type Command } from 'commander';
import { configKeyNames, configKeys } from '../config/keys.ts';
import { catalogue, childrenOf, firstWords } from './catalogue.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeOut } from './output.ts';

const shells = ['bash', 'zsh', 'fish'] as const;

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.addArgument(new Argument('<shell>', 'for which shell').choices([...shells])).addHelpText(
    'after',
    `
bash:  source <(flopd completion bash)
zsh:   source <(flopd completion zsh)
fish:  flopd completion fish | source`,
  );
  command.action(async (shell: (typeof shells)[number]) => {
    await writeOut(context.stdout, completionScript(shell));
    finish(exitCode.ok);
  });
}

export function completionScript(shell: (typeof shells)[number]): string {
  const first = firstWords();
  const names = first.map(({ name }) => name).join(' ');
  const parents = catalogue.map(({ name }) => name).filter((name) => childrenOf(name).length > 0);
  const flags = [...configKeyNames.map((name) => configKeys[name].flag), '--config', '--help'].join(' ');
  const jobVerbs = 'job|logs|cancel|wait';
  if (shell === 'fish') {
    return [
      'complete -c flopd -f',
      ...first.map(
        ({ name, summary }) =>
          `complete -c flopd -n __fish_use_subcommand -a ${name} -d ${fishQuote(summary)}`,
      ),
      ...parents.flatMap((parent) => fishChildren(parent)),
      ...flags.split(' ').map((flag) => `complete -c flopd -l ${flag.slice(2)}`),
      `complete -c flopd -n '__fish_seen_subcommand_from ${jobVerbs.replaceAll('|', ' ')}' -a '(flopd jobs 2>/dev/null | string match -r "^(?:job|arr)-[0-9a-z]+")'`,
      '',
    ].join('\n');
  }
  const body = `_flopd() {
  local word="\${COMP_WORDS[COMP_CWORD]}" verb="\${COMP_WORDS[1]}"
  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "${names}" -- "$word")); return; fi
  local path="\${COMP_WORDS[*]:1:COMP_CWORD-1}"
  case "$path" in
${parents.map((parent) => `    "${parent}") COMPREPLY=($(compgen -W "${wordsBelow(parent)} ${flags}" -- "$word")); return ;;`).join('\n')}
  esac
  case "$word" in -*) COMPREPLY=($(compgen -W "${flags}" -- "$word")); return ;; esac
  case "$verb" in
    ${jobVerbs}) COMPREPLY=($(compgen -W "$(flopd jobs 2>/dev/null | awk '/^(job|arr)-/ {sub(/\\[.*/, "", $1); print $1}')" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _flopd flopd
`;
  return shell === 'zsh' ? `autoload -Uz bashcompinit && bashcompinit\n${body}` : body;
}

function wordsBelow(parent: string): string {
  return childrenOf(parent)
    .map(({ word }) => word)
    .join(' ');
}

/** Offered where all words of the parent stand, and none of its children yet. */
function fishChildren(parent: string): readonly string[] {
  const seen = parent.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`);
  const condition = [...seen, `not __fish_seen_subcommand_from ${wordsBelow(parent)}`].join('; and ');
  return childrenOf(parent).map(
    ({ word, summary }) => `complete -c flopd -n '${condition}' -a ${word} -d ${fishQuote(summary)}`,
  );
}

function fishQuote(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`;
}
