// The kubelet's side of the Container Runtime Interface (runtime.v1), small: gRPC over HTTP/2 on the runtime's socket.
// Field numbers are those of cri-api's api.proto.
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { encode, Fields, type Message } from './protobuf';

const DEADLINE_MS = 60_000;

export interface SandboxRequest {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly portMappings?: readonly { readonly containerPort: number; readonly hostPort: number }[];
}

export interface Sandbox {
  readonly id: string;
  readonly config: Message;
}

export interface SandboxStatus {
  readonly ready: boolean;
  readonly ip: string;
}

export class CriError extends Error {}

export class Cri {
  private readonly session: ClientHttp2Session;

  /** @param cgroup parent of the pods' control groups, e.g. "/test" */
  constructor(
    socketPath: string,
    private readonly cgroup: string,
  ) {
    this.session = connectHttp2('http://localhost', { createConnection: () => connect(socketPath) });
    this.session.on('error', () => undefined); // every call fails with it
  }

  close(): void {
    this.session.destroy();
  }

  async version(): Promise<string> {
    const answer = await this.call('Version', { 1: '0.1.0' });
    return `${answer.text(2)} ${answer.text(3)}`;
  }

  /** @returns conditions that do not hold, with their message */
  async notReady(): Promise<string[]> {
    const conditions = (await this.call('Status', {})).message(1).messages(1);
    return conditions.flatMap((each) =>
      each.number(2) === 1 ? [] : [`${each.text(1)}: ${each.text(3)} ${each.text(4)}`],
    );
  }

  /** Types of the plugins that the runtime would run now, in order. */
  async plugins(): Promise<string[]> {
    const info = (await this.call('Status', { 1: true })).map(2).get('cniconfig') ?? '{}';
    const { Networks = [] } = JSON.parse(info) as {
      readonly Networks?: {
        readonly Config?: {
          readonly Name: string;
          readonly Plugins: { readonly Network: { readonly type: string } }[];
        };
      }[];
    };
    return Networks.filter(({ Config }) => Config?.Name !== 'cni-loopback').flatMap(({ Config }) =>
      (Config?.Plugins ?? []).map(({ Network }) => Network.type),
    );
  }

  /** Runs the chain of CNI plugins. Throws CriError with what a plugin said. */
  async runSandbox(request: SandboxRequest): Promise<Sandbox> {
    const { name, namespace, uid, labels = {}, annotations = {}, portMappings = [] } = request;
    const entries = (map: Readonly<Record<string, string>>): Message[] =>
      Object.entries(map).map(([key, value]) => ({ 1: key, 2: value }));
    const config: Message = {
      1: { 1: name, 2: uid, 3: namespace },
      2: name,
      5: portMappings.map(({ containerPort, hostPort }) => ({ 2: containerPort, 3: hostPort })),
      6: entries(labels),
      7: entries(annotations),
      8: { 1: this.cgroup, 2: { 1: { 1: 0 } } },
    };
    return { id: (await this.call('RunPodSandbox', { 1: config })).text(1), config };
  }

  async stopSandbox(id: string): Promise<void> {
    await this.call('StopPodSandbox', { 1: id });
  }

  async removeSandbox(id: string): Promise<void> {
    await this.call('RemovePodSandbox', { 1: id });
  }

  async status(id: string): Promise<SandboxStatus> {
    const status = (await this.call('PodSandboxStatus', { 1: id })).message(1);
    return { ready: status.number(3) === 0, ip: status.message(5).text(1) };
  }

  /** The runtime's own notes on a sandbox: its namespace, the CNI result, the pid. */
  async details(id: string): Promise<{ readonly pid: number; readonly netnsPath: string }> {
    const info = (await this.call('PodSandboxStatus', { 1: id, 2: true })).map(2).get('info') ?? '{}';
    const { pid, runtimeSpec } = JSON.parse(info) as {
      readonly pid: number;
      readonly runtimeSpec: {
        readonly linux: { readonly namespaces: { readonly type: string; readonly path?: string }[] };
      };
    };
    const netns = runtimeSpec.linux.namespaces.find(({ type }) => type === 'network');
    return { pid, netnsPath: netns?.path ?? '' };
  }

  async sandboxes(): Promise<string[]> {
    return (await this.call('ListPodSandbox', {})).messages(1).map((each) => each.text(1));
  }

  /** Makes and starts a container. @returns its id */
  async runContainer(
    sandbox: Sandbox,
    name: string,
    image: string,
    command: readonly string[],
  ): Promise<string> {
    const config: Message = { 1: { 1: name }, 2: { 1: image }, 3: command, 15: { 4: {} } };
    const made = await this.call('CreateContainer', { 1: sandbox.id, 2: config, 3: sandbox.config });
    await this.call('StartContainer', { 1: made.text(1) });
    return made.text(1);
  }

  async exec(
    container: string,
    command: readonly string[],
    timeoutS = 20,
  ): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
    const answer = await this.call('ExecSync', { 1: container, 2: command, 3: timeoutS });
    return { code: answer.number(3), out: answer.text(1), err: answer.text(2) };
  }

  private call(method: string, message: Message): Promise<Fields> {
    const body = encode(message);
    const frame = Buffer.alloc(5 + body.length);
    frame.writeUInt32BE(body.length, 1);
    body.copy(frame, 5);
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => reject(new CriError(`${method}: ${why}`));
      const stream = this.session.request({
        ':method': 'POST',
        ':path': `/runtime.v1.RuntimeService/${method}`,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const parts: Buffer[] = [];
      let failure: string | undefined;
      const note = (headers: Readonly<Record<string, unknown>>): void => {
        const status = headers['grpc-status'];
        if (status !== undefined && status !== '0')
          failure = decodeURIComponent(String(headers['grpc-message'] ?? `status ${status}`));
      };
      stream.setTimeout(DEADLINE_MS, () => stream.destroy(new Error(`no answer within ${DEADLINE_MS} ms`)));
      stream.on('response', note);
      stream.on('trailers', note);
      stream.on('data', (chunk: Buffer) => parts.push(chunk));
      stream.on('error', (error) => fail(error.message));
      stream.on('end', () =>
        failure === undefined ? resolve(new Fields(Buffer.concat(parts).subarray(5))) : fail(failure),
      );
      stream.end(frame);
    });
  }
}
