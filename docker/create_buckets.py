"""Create the buckets named on the command line if they are missing.

The S3 server and its keys come from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import sys

import botocore.session

s3 = botocore.session.get_session().create_client("s3")
existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
for name in sys.argv[1:]:
    if name not in existing:
        s3.create_bucket(Bucket=name)
        sys.stderr.write(f"Created the bucket {name}.\n")
