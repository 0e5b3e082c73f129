// What a command of the CLI writes, kept, with the socket of an agent in `folder`.
import type { Io } from '../../agent/cli/io';
import { NOW_MS } from './status';

export function keptIo(folder: string): { readonly io: Io; readonly out: string[]; readonly err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  const io: Io = {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    colour: false,
    environment: { VXSEAL_RUN_DIR: folder },
    nowMs: () => NOW_MS,
  };
  return { io, out, err };
}
