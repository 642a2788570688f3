// What does the API say of recordings?
export interface Recording {
  /** Session and number: a session may have several terminals. */
  recording_id: string;
  user: string;
  started_at: string;
  ended_at: string | null;
  /** `null` while it goes on. */
  duration_s: number | null;
  bytes: number;
  entrance: string;
  /** Nothing of it was lost. */
  complete: boolean;
}

export const pathOf = ({ recording_id }: Recording) => `/api/recordings/${recording_id}`;
