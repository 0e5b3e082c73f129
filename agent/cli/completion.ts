// `vxseal completion bash|zsh|fish`: a script for the shell, made from the commands themselves, so that it knows what
// they know.
import { Argument, type Command } from 'commander';
import { action, type Cli } from './command';

type Shell = 'bash' | 'zsh' | 'fish';

export function registerCompletion(program: Command, cli: Cli): void {
  const command = program
    .command('completion')
    .description('completion script for a shell: eval "$(vxseal completion bash)"')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']));
  action(cli, command, async (_values, [shell = 'bash']) => {
    cli.io.out(script(shell as Shell, wordsOf(program)));
    return 0;
  });
}

/** "": commands and options of the program; "ca issue": options of that command. */
type Words = ReadonlyMap<string, readonly string[]>;

export function wordsOf(program: Command): Words {
  const words = new Map<string, readonly string[]>();
  const visit = (command: Command, path: string): void => {
    const names = command.commands.map((sub) => sub.name());
    const options = command.options
      .filter(({ hidden }) => !hidden)
      .map(({ long, short }) => long ?? short ?? '');
    words.set(path, [...names, ...options, '--help']);
    for (const sub of command.commands) visit(sub, `${path} ${sub.name()}`.trim());
  };
  visit(program, '');
  return words;
}

function script(shell: Shell, words: Words): string {
  if (shell === 'fish') return fishScript(words);
  const cases = [...words].map(([path, each]) => `    ${JSON.stringify(path)}) words="${each.join(' ')}" ;;`);
  // The path of the command is what stands before the cursor, without options and their values.
  const bash = `_vxseal() {
  local word path="" words=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) break ;; *) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _vxseal vxseal`;
  return shell === 'bash' ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

function fishScript(words: Words): string {
  const lines = [...words].map(([path, each]) => {
    const condition =
      path === '' ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${path.split(' ').at(-1)}`;
    return `complete -c vxseal -f -n '${condition}' -a '${each.join(' ')}'`;
  });
  return lines.join('\n');
}
