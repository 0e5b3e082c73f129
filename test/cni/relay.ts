// Stands between the agent and the runtime's NRI socket, so that a test can part them, and speak in the runtime's place.
import { connect, createServer, type Server, type Socket } from 'node:net';

export class Relay {
  private server: Server | undefined;
  private readonly sockets = new Set<Socket>();
  /** Sent to whoever connects, in place of the runtime. */
  private instead: Buffer | undefined;
  connections = 0;

  constructor(
    readonly path: string,
    private readonly runtimePath: string,
  ) {}

  /** @param instead what every connection is answered with, without the runtime */
  async open(instead?: Buffer): Promise<void> {
    this.instead = instead;
    const server = createServer((near) => this.join(near));
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.path, resolve);
    });
  }

  /** The socket is gone, and with it every connection. */
  async close(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    for (const socket of this.sockets) socket.destroy();
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  private join(near: Socket): void {
    this.connections += 1;
    this.keep(near);
    if (this.instead !== undefined) {
      near.write(this.instead);
      return;
    }
    const far = connect(this.runtimePath);
    this.keep(far);
    near.pipe(far).pipe(near);
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  }

  private keep(socket: Socket): void {
    this.sockets.add(socket);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => this.sockets.delete(socket));
  }
}
