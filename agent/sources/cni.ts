// The container runtime's calls, as the CNI plugin carries them here: one call in, one answer out, never a throw.
// What a pod is and how it is hooked is the pod store's; what the words mean is core/cni.ts'.
import { MODE_ANNOTATION, type PodMode } from '../core/adoption';
import { CNI_CODE, type CniCall, type CniCode, decodeCniCall, type JsonObject, passOn } from '../core/cni';
import { KernelError, VxsealError } from '../errors';
import type { Clock, CniAnswer, CniAnswerer, Log, Measures, PodGate } from '../ports';

const DONE: CniAnswer = { ok: true, body: '' };

export interface CniParts {
  readonly log: Log;
  readonly clock: Clock;
  readonly measures: Measures;
}

export class CniSource implements CniAnswerer {
  constructor(
    private readonly pods: PodGate,
    private readonly parts: CniParts,
  ) {}

  /** @param request as core/cni.ts decodeCniCall() takes it. */
  async answer(request: Uint8Array): Promise<CniAnswer> {
    const decoded = decodeCniCall(request);
    if (!decoded.ok) {
      this.parts.log.warn({ reason: decoded.reason, detail: decoded.detail }, 'CNI call refused');
      return this.fail(CNI_CODE[decoded.reason], decoded.detail);
    }
    const call = decoded.value;
    const { clock, measures } = this.parts;
    const begunNs = clock.monotonicNs();
    try {
      return await this.serve(call);
    } catch (error) {
      return this.failBy(call, error);
    } finally {
      measures.answeredCni(call.command, Number(clock.monotonicNs() - begunNs) / 1e6);
    }
  }

  private serve(call: CniCall): Promise<CniAnswer> {
    switch (call.command) {
      case 'ADD':
        return this.add(call);
      case 'DEL':
        return this.pods.detach(call.attachment).then(() => DONE);
      case 'CHECK':
        return this.check(call);
      case 'GC':
        return this.collect(call);
      case 'STATUS':
        return this.status();
    }
  }

  private async add(call: CniCall): Promise<CniAnswer> {
    const { attachment, netnsPath, pod, annotations, vni } = call;
    const mode = this.modeOf(call);
    const request = {
      netnsPath,
      device: attachment.ifname,
      name: pod.name,
      namespace: pod.namespace,
      runtime: { attachment, uid: pod.uid, annotations },
    };
    if (mode === 'off') {
      await this.pods.leave(request);
      const name = `${pod.namespace}/${pod.name}`;
      this.parts.log.info({ ...attachment, pod: name }, 'pod is off: not hooked, not part of the overlay');
      return { ok: true, body: text(passOn(call, Number.POSITIVE_INFINITY)) };
    }
    const { mtuBytes } = await this.pods.attach({
      ...request,
      ...(vni === undefined ? {} : { vni }),
      ...(mode === 'strict' ? {} : { mode }),
    });
    return { ok: true, body: text(passOn(call, mtuBytes)) };
  }

  private modeOf({ mode, annotations }: CniCall): PodMode {
    return this.pods.choose({ network: mode, annotation: annotations[MODE_ANNOTATION] });
  }

  /** A pod that is off has nothing here that could be wrong. */
  private async check(call: CniCall): Promise<CniAnswer> {
    const { attachment, netnsPath } = call;
    const faults = await this.pods.check(attachment, netnsPath);
    if (faults === undefined && this.modeOf(call) === 'off') return DONE;
    if (faults === undefined)
      return this.fail(
        CNI_CODE.unknownContainer,
        `container ${attachment.containerId}: ${attachment.ifname} in network ${attachment.network} is not attached`,
      );
    if (faults.length === 0) return DONE;
    return this.fail(CNI_CODE.checkFailed, `container ${attachment.containerId}: ${faults.join('; ')}`);
  }

  private async collect({ attachment, valid }: CniCall): Promise<CniAnswer> {
    if (valid === undefined) return DONE;
    const removed = await this.pods.collect(attachment.network, valid);
    if (removed > 0) this.parts.log.info({ network: attachment.network, removed }, 'pods collected');
    return DONE;
  }

  private async status(): Promise<CniAnswer> {
    const blockers = this.pods.blockers();
    if (blockers.length === 0) return DONE;
    return this.fail(CNI_CODE.notAvailable, blockers.join('; '));
  }

  private failBy(call: CniCall, error: unknown): CniAnswer {
    const remedy = error instanceof VxsealError ? error.remedy : '';
    const message = error instanceof VxsealError ? error.message : 'the agent met an error it does not know';
    const code = codeOf(error);
    this.parts.log.warn(
      { command: call.command, ...call.attachment, code, ...(error instanceof Error ? { error } : {}) },
      'CNI call failed',
    );
    return this.fail(code, message, remedy || (code === CNI_CODE.internal ? READ_LOG : ''));
  }

  private fail(code: CniCode, msg: string, details = ''): CniAnswer {
    return { ok: false, body: text({ code, msg, ...(details === '' ? {} : { details }) }) };
  }
}

const READ_LOG = "read the agent's log";

const text = (value: JsonObject): string => `${JSON.stringify(value)}\n`;

function codeOf(error: unknown): CniCode {
  if (error instanceof KernelError) return error.retriable ? CNI_CODE.tryLater : CNI_CODE.internal;
  if (!(error instanceof VxsealError)) return CNI_CODE.internal;
  if (error.code === 'request') return CNI_CODE.config;
  return error.code === 'not-ready' ? CNI_CODE.tryLater : CNI_CODE.internal;
}
