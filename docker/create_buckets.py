"""Make the buckets named on the command line where they are missing; the S3 server and its keys come from the
environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."""

import sys

import botocore.session

s3 = botocore.session.get_session().create_client("s3")
existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
for name in sys.argv[1:]:
    if name not in existing:
        s3.create_bucket(Bucket=name)
        sys.stderr.write(f"Made the bucket {name}.\n")
