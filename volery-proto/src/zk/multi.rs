//! The framing of multi and multiRead: headers between operations, and a terminator.

use super::*;
use crate::jute::{DecodeError, Jute, Reader, Writer};

/// One write of a multi. Reading infers its kind as ZooKeeper does: of a create, the header says
/// which record follows, and the flags alone say what it is. Flags that do not exist pass here:
/// they are that operation's error, not the request's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOp {
    /// Plain create; the result holds the path.
    Create(CreateRequest),
    /// As a client may send it. It is read as a plain create, and the result holds only the path.
    Create2(CreateRequest),
    /// Container, from flags 4, whatever the header.
    CreateContainer(CreateRequest),
    /// Create with a time to live.
    CreateTtl(CreateTtlRequest),
    /// Delete.
    Delete(DeleteRequest),
    /// Replace the data.
    SetData(SetDataRequest),
    /// Check the version.
    Check(CheckVersionRequest),
}

/// One read of a multiRead; its watch flag is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOp {
    /// Names of the children.
    GetChildren(WatchedPathRequest),
    /// Data and Stat.
    GetData(WatchedPathRequest),
}

/// One result of a multi or multiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiResult {
    /// create.
    Create(CreateResponse),
    /// create2, createContainer, createTTL: all have type 15.
    Create2(Create2Response),
    /// delete.
    Delete,
    /// setData.
    SetData(Stat),
    /// check.
    Check,
    /// getChildren.
    GetChildren(GetChildrenResponse),
    /// getData.
    GetData(GetDataResponse),
    /// The operation failed, or another of the same multi did.
    Error(ErrorCode),
}

const DONE: MultiHeader = MultiHeader { opcode: -1, done: true, err: -1 };

/// Create flags that name a container, or a TTL.
const FLAGS_CONTAINER: i32 = 4;
const FLAGS_TTL: std::ops::RangeInclusive<i32> = 5..=6;

impl MultiOp {
    /// The path it works on, as the client sent it.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            MultiOp::Create(c) | MultiOp::Create2(c) | MultiOp::CreateContainer(c) => &c.path,
            MultiOp::CreateTtl(c) => &c.path,
            MultiOp::Delete(d) => &d.path,
            MultiOp::SetData(s) => &s.path,
            MultiOp::Check(c) => &c.path,
        }
    }

    /// What a create is inside a multi: flags 4 make a container whatever the header, header 19
    /// makes one whatever the flags, and TTL flags need the record that has a TTL.
    fn of_flags(header: i32, create: CreateRequest) -> Result<MultiOp, DecodeError> {
        Ok(match create.flags {
            FLAGS_CONTAINER => MultiOp::CreateContainer(create),
            flags if FLAGS_TTL.contains(&flags) || !(0..=6).contains(&flags) => {
                return Err(DecodeError::Value(flags, "create flags of a multi"));
            }
            _ if header == OpCode::CreateContainer as i32 => MultiOp::CreateContainer(create),
            _ if header == OpCode::Create2 as i32 => MultiOp::Create2(create),
            _ => MultiOp::Create(create),
        })
    }

    fn read(opcode: i32, r: &mut Reader) -> Result<MultiOp, DecodeError> {
        // Null is too much even for operations that would call it a bad path outside of a multi.
        r.expect_path()?;
        Ok(match OpCode::from_i32(opcode) {
            Some(OpCode::Create | OpCode::Create2 | OpCode::CreateContainer) => {
                MultiOp::of_flags(opcode, CreateRequest::read(r)?)?
            }
            Some(OpCode::CreateTtl) => {
                let create = CreateTtlRequest::read(r)?;
                if FLAGS_TTL.contains(&create.flags) {
                    MultiOp::CreateTtl(create)
                } else {
                    let CreateTtlRequest { path, data, acl, flags, ttl: _ } = create;
                    MultiOp::of_flags(opcode, CreateRequest { path, data, acl, flags })?
                }
            }
            Some(OpCode::Delete) => MultiOp::Delete(DeleteRequest::read(r)?),
            Some(OpCode::SetData) => MultiOp::SetData(SetDataRequest::read(r)?),
            Some(OpCode::Check) => MultiOp::Check(CheckVersionRequest::read(r)?),
            _ => return Err(DecodeError::MultiType(opcode)),
        })
    }

    fn write(&self, w: &mut Writer) {
        let header = |w: &mut Writer, opcode: OpCode| {
            MultiHeader { opcode: opcode as i32, done: false, err: -1 }.write(w);
        };
        match self {
            MultiOp::Create(c) => (header(w, OpCode::Create), c.write(w)).1,
            MultiOp::Create2(c) => (header(w, OpCode::Create2), c.write(w)).1,
            MultiOp::CreateContainer(c) => (header(w, OpCode::CreateContainer), c.write(w)).1,
            MultiOp::CreateTtl(c) => (header(w, OpCode::CreateTtl), c.write(w)).1,
            MultiOp::Delete(d) => (header(w, OpCode::Delete), d.write(w)).1,
            MultiOp::SetData(s) => (header(w, OpCode::SetData), s.write(w)).1,
            MultiOp::Check(c) => (header(w, OpCode::Check), c.write(w)).1,
        }
    }
}

impl ReadOp {
    /// The path it reads.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            ReadOp::GetChildren(r) | ReadOp::GetData(r) => &r.path,
        }
    }
}

fn read_ops<T>(
    r: &mut Reader,
    read: impl Fn(i32, &mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut ops = Vec::new();
    loop {
        let header = MultiHeader::read(r)?;
        if header.done {
            return Ok(ops);
        }
        ops.push(read(header.opcode, r)?);
    }
}

pub(super) fn read_writes(r: &mut Reader) -> Result<Vec<MultiOp>, DecodeError> {
    read_ops(r, MultiOp::read)
}

pub(super) fn write_writes(ops: &[MultiOp], w: &mut Writer) {
    for op in ops {
        op.write(w);
    }
    DONE.write(w);
}

pub(super) fn read_reads(r: &mut Reader) -> Result<Vec<ReadOp>, DecodeError> {
    read_ops(r, |opcode, r| {
        r.expect_path()?;
        match OpCode::from_i32(opcode) {
            Some(OpCode::GetChildren) => Ok(ReadOp::GetChildren(WatchedPathRequest::read(r)?)),
            Some(OpCode::GetData) => Ok(ReadOp::GetData(WatchedPathRequest::read(r)?)),
            _ => Err(DecodeError::MultiType(opcode)),
        }
    })
}

pub(super) fn write_reads(ops: &[ReadOp], w: &mut Writer) {
    for op in ops {
        let (opcode, body) = match op {
            ReadOp::GetChildren(body) => (OpCode::GetChildren, body),
            ReadOp::GetData(body) => (OpCode::GetData, body),
        };
        MultiHeader { opcode: opcode as i32, done: false, err: -1 }.write(w);
        body.write(w);
    }
    DONE.write(w);
}

impl MultiResult {
    /// Writes a reply's body: every result with its header, then the terminator.
    pub fn write_all(results: &[MultiResult], w: &mut Writer) {
        for result in results {
            result.write(w);
        }
        DONE.write(w);
    }

    /// Reads a reply's body.
    ///
    /// # Errors
    /// The bytes are not a multi's reply.
    pub fn read_all(r: &mut Reader) -> Result<Vec<MultiResult>, DecodeError> {
        read_ops(r, MultiResult::read)
    }

    fn read(opcode: i32, r: &mut Reader) -> Result<MultiResult, DecodeError> {
        Ok(match OpCode::from_i32(opcode) {
            Some(OpCode::Create) => MultiResult::Create(CreateResponse::read(r)?),
            Some(OpCode::Create2) => MultiResult::Create2(Create2Response::read(r)?),
            Some(OpCode::Delete) => MultiResult::Delete,
            Some(OpCode::SetData) => MultiResult::SetData(Stat::read(r)?),
            Some(OpCode::Check) => MultiResult::Check,
            Some(OpCode::GetChildren) => MultiResult::GetChildren(GetChildrenResponse::read(r)?),
            Some(OpCode::GetData) => MultiResult::GetData(GetDataResponse::read(r)?),
            Some(OpCode::Error) => {
                let err = ErrorResponse::read(r)?.err;
                let code = ErrorCode::from_i32(err).ok_or(DecodeError::Value(err, "error code"))?;
                MultiResult::Error(code)
            }
            _ => return Err(DecodeError::MultiType(opcode)),
        })
    }

    fn write(&self, w: &mut Writer) {
        let header = |w: &mut Writer, opcode: OpCode, err: i32| {
            MultiHeader { opcode: opcode as i32, done: false, err }.write(w);
        };
        match self {
            MultiResult::Create(r) => (header(w, OpCode::Create, 0), r.write(w)).1,
            MultiResult::Create2(r) => (header(w, OpCode::Create2, 0), r.write(w)).1,
            MultiResult::Delete => header(w, OpCode::Delete, 0),
            MultiResult::SetData(stat) => (header(w, OpCode::SetData, 0), stat.write(w)).1,
            MultiResult::Check => header(w, OpCode::Check, 0),
            MultiResult::GetChildren(r) => (header(w, OpCode::GetChildren, 0), r.write(w)).1,
            MultiResult::GetData(r) => (header(w, OpCode::GetData, 0), r.write(w)).1,
            MultiResult::Error(code) => {
                header(w, OpCode::Error, code.code());
                ErrorResponse { err: code.code() }.write(w);
            }
        }
    }
}
