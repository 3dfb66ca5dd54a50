# One use of S3 by a program: `bash programs.sh NAME BUCKET`.
set -euo pipefail
bucket=$2

case $1 in
aws_up) aws s3 cp --only-show-errors given "s3://$bucket/out/given" ;;
aws_down) aws s3 cp --only-show-errors "s3://$bucket/in/large" taken ;;
aws_between) aws s3 cp --only-show-errors "s3://$bucket/in/small" "s3://$bucket/out/copy" ;;
aws_pipe) aws s3 cp --only-show-errors "s3://$bucket/in/small" - | wc -c ;;
aws_get_object)
  aws s3api get-object --bucket "$bucket" --key in/small --range bytes=10-19 taken \
    --query ContentLength
  ;;
aws_rm) aws s3 rm --only-show-errors "s3://$bucket/in/small" ;;
aws_ls) aws s3 ls "s3://$bucket/in/" | awk '{ print $3, $4 }' ;;
rclone)
  rclone copyto "s3:$bucket/in/small" taken
  rclone copyto taken "s3:$bucket/out/rclone"
  ;;
rclone_large) rclone --s3-upload-cutoff 5M --s3-chunk-size 5M copyto given "s3:$bucket/out/rclone" ;;
curl_sigv4)
  signed=(curl -sSf --aws-sigv4 "aws:amz:$AWS_DEFAULT_REGION:s3" -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY")
  endpoint=${AWS_ENDPOINT_URL:-${ENDPOINT_IN_CODE:-}}
  "${signed[@]}" -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" -o taken "$endpoint/$bucket/in/small"
  "${signed[@]}" -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" -T taken "$endpoint/$bucket/out/curl"
  ;;
*)
  echo "no such workload: $1" >&2
  exit 2
  ;;
esac
