// One connection to the runtime's NRI socket: registers as a plugin, answers what the runtime asks, and hands on what
// it says of pods. It answers before anything is done with what was said: no pod ever waits for us. Knows no socket.
import type { PodFacts } from '../../core/podfacts';
import { accept, type Result, refuse } from '../../core/result';
import {
  type Deframer,
  encodeFrame,
  type MuxFrame,
  muxDeframer,
  PLUGIN_CONNECTION,
  RUNTIME_CONNECTION,
  TTRPC_REQUEST,
  TTRPC_RESPONSE,
  type TtrpcFrame,
  ttrpcDeframer,
} from './frames';
import * as messages from './messages';

/** Our one request; streams that a client begins are odd. */
const REGISTRATION_STREAM = 1;
/** On one node; also what may wait to be handed on. */
export const MAX_PODS = 8192;

/** Why a connection is given up; 'pod' alone passes over a pod and goes on. */
export type NriReason =
  | 'oversize'
  | 'frame'
  | 'protobuf'
  | 'rejected'
  | 'pod'
  | 'flood'
  | 'silent'
  | 'unread';

export interface SessionParts {
  send(frame: Buffer): void;
  /** All pods that the runtime has. */
  synchronized(pods: readonly PodFacts[]): void;
  started(pod: PodFacts): void;
  /** A pod is passed over. */
  refused(reason: 'pod', detail: string): void;
}

/** 'over': the runtime takes its leave. */
type Outcome = Result<'open' | 'over', NriReason>;

const OPEN: Outcome = accept('open');

export class NriSession {
  private readonly trunk: Deframer<MuxFrame> = muxDeframer();
  private readonly asked: Deframer<TtrpcFrame> = ttrpcDeframer();
  private readonly answers: Deframer<TtrpcFrame> = ttrpcDeframer();
  private readonly synchronizing: PodFacts[] = [];
  private registered = false;

  constructor(private readonly parts: SessionParts) {}

  begin(): void {
    const body = messages.encodeRegistration();
    this.parts.send(
      encodeFrame(RUNTIME_CONNECTION, { stream: REGISTRATION_STREAM, type: TTRPC_REQUEST, body }),
    );
  }

  /** Anything but 'open' ends the session. */
  receive(bytes: Buffer): Outcome {
    return each(this.trunk, bytes, ({ connection, body }) => {
      if (connection === PLUGIN_CONNECTION) return each(this.asked, body, (frame) => this.serve(frame));
      if (connection === RUNTIME_CONNECTION) return each(this.answers, body, (frame) => this.settle(frame));
      return OPEN; // the multiplexer's own rule: connections that nobody has opened are passed over
    });
  }

  private settle({ stream, type, body }: TtrpcFrame): Outcome {
    if (type !== TTRPC_RESPONSE || stream !== REGISTRATION_STREAM || this.registered)
      return refuse('frame', `type ${type} on stream ${stream}, where one answer was due`);
    this.registered = true;
    const response = messages.decodeResponse(body);
    if (!response.ok) return response;
    const { code, message } = response.value;
    return code === 0 ? OPEN : refuse('rejected', `registration: code ${code}: ${message.slice(0, 200)}`);
  }

  private serve({ stream, type, body }: TtrpcFrame): Outcome {
    if (type !== TTRPC_REQUEST || stream % 2 === 0)
      return refuse('frame', `type ${type} on stream ${stream}, where a request was due`);
    const request = messages.decodeRequest(body);
    if (!request.ok) return request;
    const answer = (payload: Uint8Array): void => this.answer(stream, messages.encodeAnswer(payload));
    const { service, method, payload } = request.value;
    switch (service === messages.PLUGIN_SERVICE ? method : '') {
      case 'Configure':
        answer(messages.encodeConfigured());
        return OPEN;
      case 'Synchronize':
        return this.synchronize(payload, answer);
      case 'StateChange': {
        const change = messages.decodeStateChange(payload);
        if (!change.ok) return change;
        answer(messages.EMPTY);
        return this.start(change.value.event === messages.RUN_POD_SANDBOX ? change.value.pod : undefined);
      }
      case 'RunPodSandbox': {
        const pod = messages.decodeRunPodSandbox(payload);
        if (!pod.ok) return pod;
        answer(messages.EMPTY);
        return this.start(pod.value);
      }
      case 'Shutdown':
        answer(messages.EMPTY);
        return accept('over');
      default:
        this.answer(stream, messages.encodeUnimplemented(method));
        return OPEN;
    }
  }

  private synchronize(payload: Uint8Array, answer: (payload: Uint8Array) => void): Outcome {
    const part = messages.decodeSynchronize(payload);
    if (!part.ok) return part;
    const { pods, more } = part.value;
    if (this.synchronizing.length + pods.length > MAX_PODS)
      return refuse('flood', `more than ${MAX_PODS} pods at once`);
    answer(messages.encodeSynchronized(more));
    for (const pod of pods) this.take(pod, (facts) => this.synchronizing.push(facts));
    if (!more) this.parts.synchronized(this.synchronizing.splice(0));
    return OPEN;
  }

  private start(pod: messages.RuntimePod | undefined): Outcome {
    if (pod !== undefined) this.take(pod, (facts) => this.parts.started(facts));
    return OPEN;
  }

  private take(pod: messages.RuntimePod, hand: (facts: PodFacts) => void): void {
    const facts = messages.factsOf(pod);
    if (!facts.ok) this.parts.refused(facts.reason, facts.detail);
    else if (facts.value !== undefined) hand(facts.value);
  }

  private answer(stream: number, body: Buffer): void {
    this.parts.send(encodeFrame(PLUGIN_CONNECTION, { stream, type: TTRPC_RESPONSE, body }));
  }
}

/** Until one frame ends it. */
function each<F>(deframer: Deframer<F>, bytes: Buffer, take: (frame: F) => Outcome): Outcome {
  const frames = deframer.push(bytes);
  if (!frames.ok) return frames;
  for (const frame of frames.value) {
    const outcome = take(frame);
    if (!outcome.ok || outcome.value === 'over') return outcome;
  }
  return OPEN;
}
