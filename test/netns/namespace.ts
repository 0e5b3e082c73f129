// Network namespaces of a test: unique names, removed at the end also when the test failed.
import { execFileSync } from 'node:child_process';

export interface Namespace {
  readonly name: string;
  readonly path: string;
  /** Runs a command inside, without ip-netns(8), which would remount /sys. */
  run(command: string, ...args: string[]): string;
  remove(): void;
}

let made = 0;

export function createNamespace(): Namespace {
  made += 1;
  const name = `vxt-${process.pid}-${made}`;
  const path = `/run/netns/${name}`;
  execFileSync('ip', ['netns', 'add', name]);
  return {
    name,
    path,
    run: (command, ...args) =>
      execFileSync('nsenter', [`--net=${path}`, command, ...args], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    remove: () => void execFileSync('ip', ['netns', 'del', name]),
  };
}

/** Two devices that are each other's end, up, one in each namespace. */
export function createVeth(a: Namespace, nameA: string, b: Namespace, nameB: string): void {
  a.run('ip', 'link', 'add', nameA, 'type', 'veth', 'peer', 'name', nameB, 'netns', b.name);
  a.run('ip', 'link', 'set', nameA, 'up');
  b.run('ip', 'link', 'set', nameB, 'up');
}
