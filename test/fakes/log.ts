// A log that keeps its lines for the test to look at.
import type { Log } from '../../agent/ports';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: object;
  readonly message: string;
}

export class QuietLog implements Log {
  readonly lines: LogLine[] = [];

  debug(fields: object, message: string): void {
    this.lines.push({ level: 'debug', fields, message });
  }
  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', fields, message });
  }
  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', fields, message });
  }
  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', fields, message });
  }

  /** Lines whose message or fields contain `text`. */
  matching(text: string): LogLine[] {
    return this.lines.filter((line) =>
      `${line.message} ${JSON.stringify(line.fields, (_, value) => (typeof value === 'bigint' ? String(value) : value))}`.includes(
        text,
      ),
    );
  }
}
