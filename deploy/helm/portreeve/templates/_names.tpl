{{/* What are things called, and what do all Pods have in common? */}}

{{/* Also the mark of this installation on its environments: at most 40 of a-z, 0-9 and '-'. */}}
{{- define "portreeve.fullname" -}}
{{- if contains "." .Release.Name }}
{{- fail (printf "The release name %q has a dot, and Services are named after it: choose one of a-z, 0-9 and '-'." .Release.Name) }}
{{- end }}
{{- $name := ternary .Release.Name (printf "%s-portreeve" .Release.Name) (contains "portreeve" .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* (list . "api"): what selects the Pods of one part */}}
{{- define "portreeve.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: portreeve
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* (list . "api"): labels of every object of one part */}}
{{- define "portreeve.labels" -}}
{{- $root := index . 0 -}}
{{ include "portreeve.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* registry/repository:tag */}}
{{- define "portreeve.image" -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}:{{ .tag }}
{{- end }}

{{- define "portreeve.secret" -}}
{{ .Values.secrets.existingSecret | default (printf "%s-secrets" (include "portreeve.fullname" .)) }}
{{- end }}

{{/* Where the URL of PostgreSQL lies, for an environment variable. */}}
{{- define "portreeve.databaseUrl" -}}
{{- $own := .Values.postgres.urlSecret -}}
name: PORTREEVE_DATABASE_URL
valueFrom:
  secretKeyRef:
    name: {{ $own.name | default (include "portreeve.secret" .) }}
    key: {{ ternary $own.key "postgres-url" (ne $own.name "") }}
{{- end }}

{{/* Every member, so that one that is away does not matter. */}}
{{- define "portreeve.natsUrl" -}}
{{- $name := include "portreeve.fullname" . -}}
{{- $members := list -}}
{{- range $i := until (int .Values.nats.replicas) }}
{{- $members = append $members (printf "nats://%s-nats-%d.%s-nats:4222" $name $i $name) }}
{{- end }}
{{- join "," $members }}
{{- end }}

{{/* Nothing of ours is root, writes into its image or may become more than it is. */}}
{{- define "portreeve.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
# Volumes and Secrets are readable to this group.
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "portreeve.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* (list . "api"): what every Pod says besides its containers */}}
{{- define "portreeve.pod" -}}
{{- $root := index . 0 -}}
{{- $values := $root.Values -}}
serviceAccountName: {{ include "portreeve.fullname" $root }}-{{ index . 1 }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "portreeve.podSecurity" $root | nindent 2 }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* (list . "api" "ScheduleAnyway"): one on each node, as far as there are nodes */}}
{{- define "portreeve.spread" -}}
topologySpreadConstraints:
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: {{ index . 2 }}
    labelSelector:
      matchLabels:
        {{- include "portreeve.selector" (list (index . 0) (index . 1)) | nindent 8 }}
{{- end }}

{{/* (list . "nats-api" "master-key" ...): the folder /run/secrets/portreeve with these keys alone */}}
{{- define "portreeve.secretVolume" -}}
name: secrets
secret:
  secretName: {{ include "portreeve.secret" (index . 0) }}
  defaultMode: 0440
  items:
    {{- range rest . }}
    - {key: {{ . }}, path: {{ . }}}
    {{- end }}
{{- end }}

{{/* (list . "api"): a service that runs alone; how it is told where the log is, and who it is there */}}
{{- define "portreeve.serviceEnv" -}}
{{- $root := index . 0 -}}
- {name: PORTREEVE_NATS_URL, value: {{ include "portreeve.natsUrl" $root | quote }}}
- {name: PORTREEVE_NATS_PASSWORD_FILE, value: /run/secrets/portreeve/nats-{{ index . 1 }}}
- {name: PORTREEVE_HEALTH_LISTEN, value: "0.0.0.0:8081"}
{{ include "portreeve.logEnv" $root }}
{{- end }}

{{- define "portreeve.logEnv" -}}
- {name: PORTREEVE_LOG, value: {{ .Values.log.filter | quote }}}
- {name: PORTREEVE_LOG_FORMAT, value: {{ .Values.log.format }}}
{{- end }}

{{/* Of a service that runs alone. Until setup was there it ends, and is started again. When the log is
away for a moment, the service itself says so to who asks; nobody answers for one that is not ready. */}}
{{- define "portreeve.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 15
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* (list . "api"): at most one at a time is taken away on purpose */}}
{{- define "portreeve.disruptionBudget" -}}
{{- $root := index . 0 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "portreeve.fullname" $root }}-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "portreeve.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "portreeve.selector" . | nindent 6 }}
{{- end }}
