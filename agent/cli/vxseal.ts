#!/usr/bin/env node
// The program `vxseal`: composition root of the command line. The daemon, the kernel and the certificates are loaded
// only by the commands that need them; the others answer in a tenth of a second. import() wants the extension.
import { setFlagsFromString } from 'node:v8';
import { espSaLine } from '../core/espsa';
import { installedVersion } from '../installation';
import { registerCa } from './ca';
import type { DoctorParts } from './doctor';
import { processIo } from './io';
import { readBus, readText } from './machine';
import { type ProgramParts, runCli } from './program';

/**
 * V8 lets a heap grow to several times what lives in it. The daemon shares its node with pods: it collects sooner, for
 * half the memory and an eighth more time in a cluster of 5,000 nodes (docs/performance.md).
 */
function keepHeapSmall(): void {
  setFlagsFromString('--heap-growing-percent=20');
  setFlagsFromString('--max-semi-space-size=4');
}

/** What OpenSSL and the bus are done with lies in pieces between what lives on. */
const RETURN_EVERY_MS = 30_000;

async function keepMallocSmall(): Promise<void> {
  const { loadNative } = await import('../kernel/native.js');
  const native = loadNative();
  native.keepMallocSmall();
  setInterval(() => native.returnFreedMemory(), RETURN_EVERY_MS).unref();
}

const doctor: DoctorParts = {
  probeKernel: async (options) => {
    const { loadNative } = await import('../kernel/native.js');
    const { probeKernel } = await import('../kernel/probe.js');
    return await probeKernel(loadNative(), options);
  },
  readIdentity: async (config) => {
    const { loadIdentity } = await import('../identity/local.js');
    return await loadIdentity(config.identity);
  },
  readDevices: async () => {
    const { loadNative } = await import('../kernel/native.js');
    const { createNetlink } = await import('../kernel/netlink.js');
    const netlink = createNetlink(loadNative());
    try {
      return { links: await netlink.links(), addresses: await netlink.addresses() };
    } finally {
      netlink.close();
    }
  },
  readText,
  readBus,
};

const parts: ProgramParts = {
  version: installedVersion(),
  agent: {
    run: async (config, log) => {
      keepHeapSmall();
      await keepMallocSmall();
      const { runUntilSignal } = await import('../main.js');
      await runUntilSignal(config, log);
    },
    cleanup: async (config, log) => {
      const { cleanupAgent } = await import('../main.js');
      await cleanupAgent(config, log);
    },
  },
  doctor,
  labKeys: {
    lines: async (pinDir) => {
      const { loadNative } = await import('../kernel/native.js');
      const { withLabKeys } = await import('../kernel/labkeys.js');
      return withLabKeys(loadNative(), pinDir, (sas) => sas.map(espSaLine));
    },
  },
  register: [registerCa],
};

// Not process.exit(): what was written to a pipe must arrive first.
void runCli(process.argv.slice(2), processIo(), parts).then((code) => {
  process.exitCode = code;
});
